"""The tables of the report, from runs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from bit_keras.data import vtab
from bit_keras.studies import published
from bit_keras.studies.columns import Column, canonical, rule_name, without_seed
from bit_keras.studies.found_runs import FoundRun, LeftOut
from bit_keras.studies.summary import summarize
from bit_keras.studies.text_table import TextTable
from bit_keras.studies.vtab_score import SCORE, Results, mean_text, vtab_table

NOT_RUN = "not run"

_VTAB = "vtab/"

_OTHER = (
    "command",
    "task",
    "model",
    "weights",
    "rule or method",
    "examples a class",
    "seeds",
    "accuracy",
)


def is_of_paper(run: FoundRun) -> bool:
    """Returns whether a run belongs in the paper's table: fine-tuning on one of its tasks."""
    task = run.configuration.get("task")
    return run.command == "finetune" and (
        task in {row.task for row in published.ROWS}
        or (task.startswith(_VTAB) and task.removeprefix(_VTAB) in vtab.TASKS)
    )


def vtab_results(column: Column) -> Results:
    """Returns the accuracies of a column on VTAB-1k, by seed and by task."""
    results = defaultdict(dict)
    for key in vtab.TASKS:
        for seed, accuracy in column.accuracies(f"{_VTAB}{key}").items():
            results[seed][key] = accuracy
    return dict(sorted(results.items()))


def paper_table(columns: Sequence[Column], names: Sequence[str]) -> TextTable:
    """Returns the paper's table, with columns of runs before its own.

    Args:
        columns: of runs; none: a column that says so.
        names: what stands above each.
    """
    rows = tuple(
        (row.title, *([_cell(row, column) for column in columns] or [NOT_RUN]), *row.cells())
        for row in published.ROWS
    )
    header = ("task", *(names or ["this run"]), *published.COLUMNS)
    return TextTable("Test accuracy in %: median ± std over the seeds (n)", header, rows)


def vtab_details(columns: Sequence[Column], names: Sequence[str]) -> TextTable | None:
    """Returns the accuracies on each task of VTAB-1k; None where none was run."""
    results = {
        name: found
        for name, column in zip(names, columns, strict=True)
        if (found := vtab_results(column))
    }
    keys = {
        key for found in results.values() for accuracies in found.values() for key in accuracies
    }
    return vtab_table(results, keys) if results else None


def others_table(runs: Iterable[FoundRun]) -> TextTable | None:
    """Returns the runs that have no place in the paper's table; None where there are none."""
    groups = defaultdict(list)
    for run in runs:
        groups[run.path if run.is_study else canonical(without_seed(run.configuration))].append(run)
    rows = sorted(_other_row(group) for group in groups.values())
    return TextTable("Other runs, test accuracy in %", _OTHER, tuple(rows)) if rows else None


def versions_table(runs: Iterable[FoundRun]) -> TextTable:
    """Returns the versions of the packages that the runs were made with."""
    counts = Counter(_versions(run) for run in runs)
    rows = tuple((versions, str(count)) for versions, count in sorted(counts.items()))
    return TextTable("Versions", ("versions", "runs"), rows)


def left_out_table(left_out: Sequence[LeftOut]) -> TextTable | None:
    """Returns what does not count, and why; None where all does."""
    rows = tuple((str(one.path), one.reason) for one in left_out)
    return TextTable("Left out", ("directory", "reason"), rows) if rows else None


def _cell(row: published.PublishedRow, column: Column) -> str:
    if row.task is None:
        return mean_text(vtab_results(column), SCORE)
    accuracies = column.accuracies(row.task)
    return summarize(list(accuracies.values())).percent() if accuracies else NOT_RUN


def _other_row(runs: Sequence[FoundRun]) -> tuple[str, ...]:
    first = runs[0]
    asked = first.configuration
    accuracies = [run.accuracy for run in runs if run.accuracy is not None]
    if first.is_study:  # which is its own summary
        seeds, accuracy = first.seed, ", ".join(f"{100 * value:.2f}" for value in accuracies)
    else:
        seeds = [run.seed for run in runs if run.seed is not None]
        accuracy = summarize(accuracies).percent() if accuracies else ""
    return (
        first.command,
        *(str(asked.get(key, "")) for key in ("task", "model", "weights")),
        rule_name(asked) if first.command == "finetune" else str(asked.get("method", "")),
        str(asked.get("examples_per_class") or ""),
        ", ".join(map(str, seeds)),
        accuracy,
    )


def _versions(run: FoundRun) -> str:
    versions = run.metrics.get("versions")
    if not isinstance(versions, dict) or not versions:
        return "not recorded"
    return ", ".join(f"{package} {version}" for package, version in sorted(versions.items()))

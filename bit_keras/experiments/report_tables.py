"""The tables of a report, which compares finished runs with the paper's accuracies."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bit_keras.data import vtab
from bit_keras.experiments.repeated_runs import summarize
from bit_keras.experiments.report_columns import Column, canonical, rule_name, without_seed
from bit_keras.experiments.vtab_report import SCORE, Results, mean_text, vtab_table
from bit_keras.runs.found_runs import FoundRun, LeftOut
from bit_keras.utils.natural_order import natural_key
from bit_keras.utils.text_table import TextTable

COLUMNS = ("BiT-L", "BiT-M", "BiT-S", "generalist SOTA", "specialist SOTA")


@dataclass(frozen=True)
class PublishedRow:
    """A row of the paper's tables of test accuracies.

    Attributes:
        title: the name of the task in the paper.
        task: the name of the task in a run's configuration; None for VTAB-1k, which has 19 tasks.
        cells: the texts under `COLUMNS`, in percent. The figure of BiT-L is the median and the
            standard deviation of three runs.
    """

    title: str
    task: str | None
    cells: tuple[str, ...]


# fmt: off
ROWS = (
    PublishedRow("ILSVRC-2012", "imagenet2012", ("87.54 ± 0.02", "85.39", "81.30", "86.4", "88.4")),
    PublishedRow("CIFAR-10", "cifar10", ("99.37 ± 0.06", "98.91", "97.51", "99.0", "-")),
    PublishedRow("CIFAR-100", "cifar100", ("93.51 ± 0.08", "92.17", "86.21", "91.7", "-")),
    PublishedRow("Pets", "oxford_iiit_pet", ("96.62 ± 0.23", "94.46", "93.97", "95.9", "97.1")),
    PublishedRow("Flowers", "oxford_flowers102",
                 ("99.63 ± 0.03", "99.30", "89.89", "98.8", "97.7")),
    PublishedRow("VTAB (19 tasks)", None, ("76.29 ± 1.70", "70.64", "66.87", "70.5", "-")),
)
# fmt: on

NOT_RUN = "not run"

_VTAB = "vtab/"

# The commands whose runs have a recipe and a budget.
_TRAININGS = ("finetune", "pretrain", "distill")

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
    """Returns True if a run is a fine-tuning on a task that has a place in the paper's table."""
    task = run.configuration.get("task")
    return run.command == "finetune" and (
        task in {row.task for row in ROWS}
        or (task.startswith(_VTAB) and task.removeprefix(_VTAB) in vtab.TASKS)
    )


def vtab_results(column: Column) -> Results:
    """Maps each seed to the VTAB-1k accuracies by task in one column of the report."""
    results = defaultdict(dict)
    for key in vtab.TASKS:
        for seed, accuracy in column.accuracies(f"{_VTAB}{key}").items():
            results[seed][key] = accuracy
    return dict(sorted(results.items()))


def paper_table(columns: Sequence[Column], names: Sequence[str]) -> TextTable:
    """Returns the paper's table of accuracies, with columns for the user's runs in front.

    Args:
        columns: the columns of runs; if there are none, a column says "not run".
        names: the heading of each column of runs.
    """
    rows = tuple(
        (row.title, *([_cell(row, column) for column in columns] or [NOT_RUN]), *row.cells)
        for row in ROWS
    )
    header = ("task", *(names or ["this run"]), *COLUMNS)
    return TextTable("Test accuracy in %: median ± std over the seeds (n)", header, rows)


def vtab_details(columns: Sequence[Column], names: Sequence[str]) -> TextTable | None:
    """Returns a table of the accuracies on each task of VTAB-1k; None if no task was run."""
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
    """Returns a table of the runs that are not in the paper's table; None without such runs."""
    groups = defaultdict(list)
    for run in runs:
        groups[run.path if run.is_study else canonical(without_seed(run.configuration))].append(run)
    rows = sorted(map(_other_row, groups.values()), key=lambda row: [*map(natural_key, row)])
    return TextTable("Other runs, test accuracy in %", _OTHER, tuple(rows)) if rows else None


def versions_table(runs: Iterable[FoundRun]) -> TextTable:
    """Returns a table of the package versions that the runs were made with."""
    counts = Counter(_versions(run) for run in runs)
    rows = tuple((versions, str(count)) for versions, count in sorted(counts.items()))
    return TextTable("Versions", ("versions", "runs"), rows)


def left_out_table(left_out: Sequence[LeftOut]) -> TextTable | None:
    """Returns a table of the directories that a report leaves out, with reasons; None if empty."""
    rows = tuple((str(one.path), one.reason) for one in left_out)
    return TextTable("Left out", ("directory", "reason"), rows) if rows else None


def _cell(row: PublishedRow, column: Column) -> str:
    if row.task is None:
        return mean_text(vtab_results(column), SCORE)
    accuracies = column.accuracies(row.task)
    return summarize(list(accuracies.values())).percent() if accuracies else NOT_RUN


def _other_row(runs: Sequence[FoundRun]) -> tuple[str, ...]:
    first = runs[0]
    asked = first.configuration
    accuracies = [run.accuracy for run in runs if run.accuracy is not None]
    # A study is one row of the table of other runs, because it already summarizes several runs.
    if first.is_study:
        seeds, accuracy = first.seed, ", ".join(f"{100 * value:.2f}" for value in accuracies)
    else:
        seeds = [run.seed for run in runs if run.seed is not None]
        accuracy = summarize(accuracies).percent() if accuracies else ""
    return (
        first.command,
        *(str(asked.get(key, "")) for key in ("task", "model", "weights")),
        rule_name(asked) if first.command in _TRAININGS else str(asked.get("method", "")),
        str(asked.get("examples_per_class") or ""),
        ", ".join(map(str, seeds)),
        accuracy,
    )


def _versions(run: FoundRun) -> str:
    versions = run.metrics.get("versions")
    if not isinstance(versions, dict) or not versions:
        return "not recorded"
    return ", ".join(f"{package} {version}" for package, version in sorted(versions.items()))

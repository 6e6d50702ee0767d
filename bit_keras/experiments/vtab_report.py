"""The metrics, the table and the picture that a study on VTAB-1k writes."""

import dataclasses
import statistics
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bit_keras.data.vtab import GROUPS, TASKS
from bit_keras.evaluation.plots import save_figure, without_losing_results
from bit_keras.experiments.repeated_runs import summarize
from bit_keras.runs import run_directory
from bit_keras.utils.text_file import write_text
from bit_keras.utils.text_table import TextTable, escape

PICTURE, TABLE = "vtab.png", "vtab.md"

# Maps each seed to a dict from task names to test accuracies, 0 to 1.
Results = Mapping[int, Mapping[str, float]]

SCORE = "score"

# Maps each group of VTAB-1k, and "score", to the tasks whose mean accuracy is reported.
MEANS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{group: tuple(k for k, row in TASKS.items() if row.group == group) for group in GROUPS},
        SCORE: tuple(TASKS),
    }
)


def mean(accuracies: Mapping[str, float], name: str) -> float | None:
    """Returns the mean accuracy, 0 to 1, over a group of tasks, or None if a task is missing."""
    keys = MEANS[name]
    if not accuracies.keys() >= set(keys):
        return None
    return statistics.fmean(accuracies[key] for key in keys)


def mean_text(results: Results, name: str) -> str:
    """Returns a text with the mean accuracy over a group of tasks: median and std over the seeds.

    A seed without results for all these tasks does not count; the text says how many it has.
    """
    keys = MEANS[name]
    means = {seed: mean(accuracies, name) for seed, accuracies in results.items()}
    complete = [value for value in means.values() if value is not None]
    parts = [summarize(complete).percent()] if complete else []
    for seed in (seed for seed, value in means.items() if value is None):
        count = len(results[seed].keys() & set(keys))
        prefix = "" if len(results) == 1 else f"seed {seed}: "
        parts.append(f"{prefix}{count} of {len(keys)} run")
    return "; ".join(parts) or "not run"


def vtab_table(
    columns: Mapping[str, Results], keys: Iterable[str], failed: Collection[str] = ()
) -> TextTable:
    """Returns a table of VTAB-1k accuracies: the given tasks, the means of groups, and the score.

    Args:
        columns: the results in each column, by its name.
        keys: the tasks that have a row.
        failed: the tasks that failed; a cell without results says so.
    """
    keys, rows = set(keys), []
    for group in GROUPS:
        shown = [key for key in MEANS[group] if key in keys]
        absent = {key: "failed" if key in failed else "not run" for key in shown}
        rows += [
            (group, key, *(_text(results, key) or absent[key] for results in columns.values()))
            for key in shown
        ]
        if shown:
            rows.append(_mean_row(columns, group, f"mean of {len(MEANS[group])}"))
    rows.append(_mean_row(columns, SCORE, f"mean of all {len(TASKS)}"))
    return TextTable("VTAB-1k, test accuracy in %", ("group", "task", *columns), tuple(rows))


def _text(results: Results, key: str) -> str:
    values = [accuracies[key] for accuracies in results.values() if key in accuracies]
    return summarize(values).percent() if values else ""


def _mean_row(columns: Mapping[str, Results], name: str, title: str) -> tuple[str, ...]:
    return (name, title, *(mean_text(results, name) for results in columns.values()))


@dataclass(frozen=True)
class Failure:
    """A run of a VTAB-1k study that ended with an exception.

    Attributes:
        task: a key of `bit_keras.data.vtab.TASKS`.
        seed: the seed of the run.
        error: the type and the message of the exception.
        traceback: the traceback of the exception.
    """

    task: str
    seed: int
    error: str
    traceback: str

    def __str__(self) -> str:
        return f"{self.task}, seed {self.seed}: {self.error}"

    def in_short(self) -> str:
        """Returns a text with the task, the seed and the first line of the error."""
        return str(self).splitlines()[0]


def failure_of(task: str, seed: int, error: Exception) -> Failure:
    """Returns a `Failure` with the task, the seed and the exception of a failed run."""
    lines = traceback.format_exception(error)
    return Failure(task, seed, f"{type(error).__name__}: {error}", "".join(lines))


def metrics_of(
    results: Results, failures: Sequence[Failure], configuration: dict[str, Any]
) -> dict[str, Any]:
    """Returns the content of metrics.json for a study on VTAB-1k.

    Args:
        results: test accuracies, 0 to 1, by seed and by task.
        failures: the runs that ended with an exception.
        configuration: the configuration of the study.
    """
    scores = {seed: mean(accuracies, SCORE) for seed, accuracies in results.items()}
    complete = [score for score in scores.values() if score is not None]
    return run_directory.plain(
        {
            "test_accuracy": statistics.median(complete) if complete else None,
            "scores": scores,
            "groups": {
                group: {seed: mean(accuracies, group) for seed, accuracies in results.items()}
                for group in GROUPS
            },
            "tasks": results,
            "failures": [dataclasses.asdict(failure) for failure in failures],
            "seed": list(results),
            "configuration": configuration,
            "versions": run_directory.versions(),
        }
    )


def write_record(
    results: Results, failures: Sequence[Failure], keys: Collection[str], metrics: dict, path: Path
) -> TextTable:
    """Writes the table, the picture and then the metrics of a VTAB-1k study; returns the table.

    Args:
        results: test accuracies, 0 to 1, by seed and by task.
        failures: the runs that ended with an exception.
        keys: the tasks that were asked for.
        metrics: what `metrics_of` returns for these results.
        path: the study's directory.
    """
    asked = metrics["configuration"]
    title = f"{asked['model']}, {asked['weights']} weights, {asked['recipe']} recipe"
    failed = {failure.task for failure in failures}
    table = vtab_table({"median ± std over the seeds (n)": results}, keys, failed)
    lines = [f"* {escape(str(failure))}" for failure in failures]
    text = "\n".join([f"# {escape(title)}", "", table.markdown(), *lines, ""])
    write_text(path / TABLE, text)
    if any(results.values()):
        with without_losing_results(path / PICTURE) as picture:
            plot_vtab(results, f"VTAB-1k: {title}", picture)
    run_directory.write_json(path / run_directory.METRICS, metrics)
    return table


def verdict(results: Results) -> str:
    """Returns a sentence with the VTAB-1k score, or with the number of finished tasks."""
    has_score = any(mean(accuracies, SCORE) is not None for accuracies in results.values())
    return f"{'Score' if has_score else 'No score'}: {mean_text(results, SCORE)}."


_COLORS = dict(zip(GROUPS, ("tab:green", "tab:purple", "tab:orange"), strict=True))


def plot_vtab(results: Results, title: str, path: Path) -> None:
    """Saves a bar chart of the median accuracy on each task, over the seeds, as a PNG.

    Args:
        results: accuracies, 0 to 1, by seed and by task; at least one.
        title: the title of the picture.
        path: the PNG file.
    """
    figure = Figure(figsize=(8, 2.2 + 0.32 * len(_keys(results))), layout="constrained")
    figure.suptitle(title, parse_math=False, wrap=True)
    axes = figure.subplots()
    for group in GROUPS:
        _plot_group(axes, results, group)
    axes.invert_yaxis()
    # The axis ends at 110 % to leave room for the numbers beside the bars.
    spread = "; lines: ± std over the seeds" if len(results) > 1 else ""
    axes.set(xlabel=f"test accuracy (%){spread}", xlim=(0, 110), xticks=range(0, 101, 20))
    axes.margins(y=0.02)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=9)
    save_figure(figure, path)


def _keys(results: Results) -> list[str]:
    """Returns the tasks of VTAB-1k that have a result for at least one seed."""
    return [key for key in TASKS if any(key in accuracies for accuracies in results.values())]


def _plot_group(axes: Axes, results: Results, group: str) -> None:
    keys = [key for key in _keys(results) if key in MEANS[group]]
    if not keys:
        return
    summaries = [
        summarize([100 * accuracies[key] for accuracies in results.values() if key in accuracies])
        for key in keys
    ]
    axes.barh(
        keys,
        [summary.median for summary in summaries],
        xerr=[summary.std or 0 for summary in summaries] if len(results) > 1 else None,
        color=_COLORS[group],
        label=_legend(results, group),
    )
    for key, summary in zip(keys, summaries, strict=True):
        figure = axes.text(109, key, f"{summary.median:.1f}", ha="right", va="center", fontsize=9)
        figure.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})


def _legend(results: Results, group: str) -> str:
    means = [mean(accuracies, group) for accuracies in results.values()]
    complete = [value for value in means if value is not None]
    return f"{group}: mean {summarize(complete).percent()}" if complete else group

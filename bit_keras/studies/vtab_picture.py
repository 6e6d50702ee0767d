"""A picture of the accuracies on VTAB-1k: a bar for each task, by group."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bit_keras.data.vtab import GROUPS, TASKS
from bit_keras.evaluation.figure_file import save_figure
from bit_keras.studies.summary import summarize
from bit_keras.studies.vtab_score import MEANS, Results, mean

_COLORS = dict(zip(GROUPS, ("tab:green", "tab:purple", "tab:orange"), strict=True))


def plot_vtab(results: Results, title: str, path: Path) -> None:
    """Saves the median over the seeds of each task that has run, as a PNG.

    Args:
        results: accuracies, 0 to 1, by seed and by task; at least one.
        title: of the picture.
        path: of the PNG.
    """
    figure = Figure(figsize=(8, 2.2 + 0.32 * len(_keys(results))), layout="constrained")
    figure.suptitle(title, parse_math=False, wrap=True)
    axes = figure.subplots()
    for group in GROUPS:
        _plot_group(axes, results, group)
    axes.invert_yaxis()
    # Room for the figures beside the bars.
    spread = "; lines: ± std over the seeds" if len(results) > 1 else ""
    axes.set(xlabel=f"test accuracy (%){spread}", xlim=(0, 110), xticks=range(0, 101, 20))
    axes.margins(y=0.02)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=9)
    save_figure(figure, path)


def _keys(results: Results) -> list[str]:
    """The tasks that any seed has."""
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

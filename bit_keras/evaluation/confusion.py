"""What a model takes for what: the confusion matrix, and its largest entries."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from bit_keras.data.tasks import Task
from bit_keras.evaluation.accuracy import Predictions
from bit_keras.evaluation.figure_file import save_figure
from bit_keras.evaluation.image_grid import shorten

# Up to so many classes: counts fit into the cells, names along the axes, and a matrix into a
# picture and into memory. Above the last one, neighbouring classes share a row.
_MAX_COUNTS, _MAX_NAMES, _MAX_ROWS = 15, 40, 1000

_LISTED = 20  # confusions beside a matrix without counts
_MAX_NAME = 22  # characters


@dataclass(frozen=True)
class Confusion:
    """So many test images of the class `truth` were taken for the class `predicted`."""

    truth: int
    predicted: int
    count: int


def confusion_matrix(predictions: Predictions, group: int = 1) -> np.ndarray:
    """Returns how many test images of a true class (row) were taken for a class (column).

    Args:
        predictions: of the whole test split.
        group: so many neighbouring classes share a row and a column.

    Returns:
        int64 `[n, n]`, n the number of classes by `group`, rounded up.
    """
    side = -(-predictions.logits.shape[1] // group)
    cells = predictions.labels // group * side + predictions.predicted // group
    return np.bincount(cells, minlength=side * side).reshape(side, side)


def most_frequent_confusions(predictions: Predictions, most: int) -> list[Confusion]:
    """Returns the pairs of true and predicted class with most mistakes, the largest first.

    Args:
        predictions: of the whole test split.
        most: pairs to return; fewer where there are no more.
    """
    wrong = predictions.predicted != predictions.labels
    pairs = np.stack([predictions.labels[wrong], predictions.predicted[wrong]])
    pairs, counts = np.unique(pairs, axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [Confusion(*row) for row in np.vstack([pairs, counts]).T[order].tolist()]


def plot_confusion_matrix(predictions: Predictions, task: Task, path: Path) -> None:
    """Saves the confusion matrix as a PNG; a row is a true class, a column a prediction.

    The colour is the share of the true class; up to 15 classes have the counts written in. With
    more, the most frequent confusions stand beside it.

    Args:
        predictions: of the whole test split.
        task: whose classes they are.
        path: of the PNG.
    """
    group = -(-task.num_classes // _MAX_ROWS)
    counts = confusion_matrix(predictions, group)
    side = float(np.clip(0.35 * len(counts), 4, 8))  # inches
    has_list = task.num_classes > _MAX_COUNTS
    figure = Figure(figsize=(side + 2 + 4 * has_list, side + 1), layout="constrained")
    right = int((predictions.predicted == predictions.labels).sum())
    figure.suptitle(
        f"{task.name}: {right} of {len(predictions.labels)} test images right",
        parse_math=False,
        fontsize=11,
    )
    widths = [side + 1, 4] if has_list else [1]
    axes, *beside = figure.subplots(1, len(widths), width_ratios=widths, squeeze=False).flat
    _draw_matrix(axes, counts, group)
    _name_axes(axes, task, group)
    if beside:
        _list_confusions(beside[0], predictions, task)
    save_figure(figure, path)


def _draw_matrix(axes: Axes, counts: np.ndarray, group: int) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    percent = np.full(counts.shape, np.nan)
    np.divide(100 * counts, totals, out=percent, where=totals > 0)
    empty = " (grey: no test images)" if np.isnan(percent).any() else ""
    end = len(counts) * group - 0.5
    picture = axes.imshow(
        percent,
        # Its square root is what is drawn: else a confusion of 5 % would be as white as none.
        norm=PowerNorm(0.5, vmin=0, vmax=100),
        cmap="Blues",
        extent=(-0.5, end, end, -0.5),
    )
    axes.set_facecolor("lightgray")  # what nan leaves to be seen
    axes.figure.colorbar(
        picture,
        ax=axes,
        fraction=0.046,  # as high as a square matrix, says matplotlib's manual
        pad=0.02,
        ticks=[0, 1, 5, 10, 25, 50, 100],
        label="% of the true class" + empty,
    )
    if len(counts) <= _MAX_COUNTS:
        for row, column in np.argwhere(counts):
            colour = "white" if picture.norm(percent[row, column]) > 0.6 else "black"
            axes.text(
                column, row, counts[row, column], color=colour, fontsize=7, ha="center", va="center"
            )


def _name_axes(axes: Axes, task: Task, group: int) -> None:
    if task.num_classes <= _MAX_NAMES:
        names = [shorten(name, _MAX_NAME) for name in task.class_names]
        places = range(len(names))
        axes.set_xticks(places, names, rotation=90, fontsize=8, parse_math=False)
        axes.set_yticks(places, names, fontsize=8, parse_math=False)
        axes.set(xlabel="predicted class", ylabel="true class")
        return
    of_groups = f", {group} classes a cell" if group > 1 else ""
    axes.set(
        xlabel=f"number of the predicted class{of_groups}",
        ylabel=f"number of the true class{of_groups}",
    )


def _list_confusions(axes: Axes, predictions: Predictions, task: Task) -> None:
    totals = np.bincount(predictions.labels, minlength=task.num_classes)
    lines = [
        f"{confusion.count} of {totals[confusion.truth]}  "
        f"{shorten(task.class_names[confusion.truth], _MAX_NAME)} → "
        f"{shorten(task.class_names[confusion.predicted], _MAX_NAME)}"
        for confusion in most_frequent_confusions(predictions, _LISTED)
    ]
    axes.axis("off")
    axes.set_title("most frequent confusions\n(true class → prediction)", fontsize=10, loc="left")
    axes.text(
        0,
        1,
        "\n".join(lines or ["none"]),
        fontsize=8,
        va="top",
        linespacing=1.5,
        parse_math=False,
        transform=axes.transAxes,
    )

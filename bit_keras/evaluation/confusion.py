"""The confusion matrix: how many test images of each true class are predicted as each class."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from bit_keras.data.tasks import Task
from bit_keras.evaluation.plots import save_figure, shorten
from bit_keras.evaluation.predictions import Predictions

# The picture of a confusion matrix shows counts in the cells for up to 15 classes, and class names
# along the axes for up to 40 classes. For more than 1000 classes, neighbouring classes share a row
# and a column.
_MAX_COUNTS, _MAX_NAMES, _MAX_ROWS = 15, 40, 1000

# With more than 15 classes, the picture lists the 20 most frequent confusions beside the matrix.
_LISTED = 20

# A class name is cut to 22 characters, so that it fits along an axis.
_MAX_NAME = 22


@dataclass(frozen=True)
class Confusion:
    """A confusion: `count` test images of the class `truth` were predicted as `predicted`."""

    truth: int
    predicted: int
    count: int


def confusion_matrix(predictions: Predictions, group: int = 1) -> np.ndarray:
    """Returns the number of test images of each true class (row) and predicted class (column).

    Args:
        predictions: the predictions of the whole test split.
        group: the number of neighbouring classes that share a row and a column.

    Returns:
        int64 `[n, n]`; n is the number of classes divided by `group`, rounded up.
    """
    side = -(-predictions.logits.shape[1] // group)
    cells = predictions.labels // group * side + predictions.predicted // group
    return np.bincount(cells, minlength=side * side).reshape(side, side)


def most_frequent_confusions(predictions: Predictions, most: int) -> list[Confusion]:
    """Returns the pairs of true and predicted class with the most mistakes, most frequent first.

    Args:
        predictions: the predictions of the whole test split.
        most: the largest number of pairs to return.
    """
    wrong = predictions.predicted != predictions.labels
    pairs = np.stack([predictions.labels[wrong], predictions.predicted[wrong]])
    pairs, counts = np.unique(pairs, axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [Confusion(*row) for row in np.vstack([pairs, counts]).T[order].tolist()]


def plot_confusion_matrix(predictions: Predictions, task: Task, path: Path) -> None:
    """Saves a PNG of the confusion matrix: rows are true classes, columns are predicted classes.

    The colour of a cell is its share of the true class. With up to 15 classes, the counts are
    written into the cells; with more, the most frequent confusions are listed beside the matrix.

    Args:
        predictions: the predictions of the whole test split.
        task: the task whose class names are shown.
        path: the PNG file.
    """
    group = -(-task.num_classes // _MAX_ROWS)
    counts = confusion_matrix(predictions, group)
    # Width and height in inches of the confusion matrix within the picture.
    side = float(np.clip(0.35 * len(counts), 4, 8))
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
        # The colour of a cell follows the square root of the cell's percentage, so that 5 % differs
        # visibly from 0 %.
        norm=PowerNorm(0.5, vmin=0, vmax=100),
        cmap="Blues",
        extent=(-0.5, end, end, -0.5),
    )
    # In the picture of the confusion matrix, the rows of classes without test images are grey.
    axes.set_facecolor("lightgray")
    axes.figure.colorbar(
        picture,
        ax=axes,
        # With this fraction, the colour bar is as high as the matrix.
        fraction=0.046,
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

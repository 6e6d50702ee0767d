"""Pictures of a run: its learning curve, and test images with what was said of them."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bit_keras.data.tasks import Task
from bit_keras.evaluation.accuracy import Predictions
from bit_keras.evaluation.figure_file import save_figure
from bit_keras.evaluation.image_grid import (
    RIGHT,
    WRONG,
    Caption,
    plot_images,
    read_test_images,
    shorten,
)
from bit_keras.hyperrule import HyperRule

_ROWS, _COLUMNS = 4, 8
_MISTAKES = _COLUMNS  # at most; they fill the last row
_MAX_NAME = 14  # characters that fit above a picture


def plot_learning_curve(history: dict, test_accuracy: float, title: str, path: Path) -> None:
    """Saves loss and accuracy over the steps of training as a PNG.

    Args:
        history: lists of equal length: `step`, `loss`, `accuracy` (0 to 1), `learning_rate`;
            where the run evaluated held-out examples, `validation`: a dict of such lists, `step`,
            `loss` and `accuracy`.
        test_accuracy: 0 to 1, over the whole test split at the end; a dashed line.
        title: of the picture.
        path: of the PNG.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    figure.suptitle(title, parse_math=False)
    loss, accuracy = figure.subplots(2, 1, sharex=True)
    training = {"color": "tab:blue", "marker": _marker(history), "label": "training"}
    loss.plot(history["step"], history["loss"], **training)
    loss.set(ylabel="loss (nats)", yscale="log")
    rate = loss.twinx()
    rate.plot(
        history["step"],
        history["learning_rate"],
        color="tab:gray",
        ls=":",
        marker=_marker(history),
        drawstyle="steps-pre",
    )
    rate.set(ylabel="learning rate (dotted)", yscale="log")
    accuracy.plot(history["step"], 100 * np.asarray(history["accuracy"]), **training)
    if "validation" in history:
        points = history["validation"]
        held_out = {"color": "tab:green", "marker": _marker(points), "label": "held-out"}
        loss.plot(points["step"], points["loss"], **held_out)
        accuracy.plot(points["step"], 100 * np.asarray(points["accuracy"]), **held_out)
    accuracy.axhline(
        100 * test_accuracy,
        color="tab:orange",
        ls="--",
        label=f"test, at the end: {test_accuracy:.1%}",
    )
    accuracy.set(xlabel="step", ylabel="accuracy (%)", ylim=(0, 103))
    accuracy.legend(loc="lower right")
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
    save_figure(figure, path)


def _marker(points: dict) -> str | None:
    """A line of one point shows nothing without a marker."""
    return "o" if len(points["step"]) == 1 else None


def plot_predictions(predictions: Predictions, task: Task, rule: HyperRule, path: Path) -> None:
    """Saves test images, as the network sees them, with prediction and truth as a PNG.

    First images that are spread evenly over the test split, then some of the mistakes. A wrong
    prediction is red and shows both.

    Args:
        predictions: of the whole test split.
        task: whose test images are shown.
        rule: of which only `crop` counts.
        path: of the PNG.
    """
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    total = len(predictions.labels)
    chosen = _choose(total, wrong)
    plot_images(
        read_test_images(task, rule, chosen),
        [_caption(predictions, task, index) for index in chosen],
        _COLUMNS,
        f"{task.name}: {total - len(wrong)} of {total} test images right\n"
        "green: right; red: the prediction, and what it is; some of the mistakes come last",
        path,
    )


def _choose(count: int, wrong: np.ndarray) -> np.ndarray:
    """Positions of the images to show: a sample of all, then some of the mistakes."""
    mistakes = (
        wrong[np.unique(np.linspace(0, len(wrong) - 1, _MISTAKES).astype(int))]
        if len(wrong)
        else wrong
    )
    places = min(count, _ROWS * _COLUMNS) - len(mistakes)
    others = np.setdiff1d(np.arange(count), mistakes)
    sample = others[np.unique(np.linspace(0, len(others) - 1, places).astype(int))]
    return np.concatenate([sample, mistakes])


def _caption(predictions: Predictions, task: Task, index: int) -> Caption:
    said, truth = (
        shorten(task.class_names[labels[index]], _MAX_NAME)
        for labels in (predictions.predicted, predictions.labels)
    )
    if predictions.predicted[index] == predictions.labels[index]:
        return Caption(said, RIGHT)
    return Caption(f"{said}\nis {truth}", WRONG)

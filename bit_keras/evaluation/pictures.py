"""Pictures of a run: its learning curve, and test images with what was said of them."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bit_keras.atomic_file import written_whole
from bit_keras.data import pipeline, subsets
from bit_keras.data.tasks import Task
from bit_keras.evaluation.accuracy import Predictions
from bit_keras.hyperrule import HyperRule

_ROWS, _COLUMNS = 4, 8
_MISTAKES = _COLUMNS  # at most; they fill the last row
_RIGHT, _WRONG = "#1a7f37", "#cf222e"
_MAX_NAME = 14  # characters that fit above a picture


def plot_learning_curve(
    history: dict[str, list[float]], test_accuracy: float, title: str, path: Path
) -> None:
    """Saves loss and accuracy over the steps of training as a PNG.

    Args:
        history: lists of equal length: `step`, `loss`, `accuracy` (0 to 1), `learning_rate`.
        test_accuracy: 0 to 1, over the whole test split at the end; a dashed line.
        title: of the picture.
        path: of the PNG.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    figure.suptitle(title, parse_math=False)
    loss, accuracy = figure.subplots(2, 1, sharex=True)
    marker = "o" if len(history["step"]) == 1 else None
    loss.plot(history["step"], history["loss"], color="tab:blue", marker=marker)
    loss.set(ylabel="training loss (nats)", yscale="log")
    rate = loss.twinx()
    rate.plot(
        history["step"],
        history["learning_rate"],
        color="tab:gray",
        ls=":",
        marker=marker,
        drawstyle="steps-pre",
    )
    rate.set(ylabel="learning rate (dotted)", yscale="log")
    percent = 100 * np.asarray(history["accuracy"])
    accuracy.plot(history["step"], percent, color="tab:blue", marker=marker, label="training")
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
    _save(figure, path)


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
    predicted = predictions.logits.argmax(axis=1)
    wrong = np.flatnonzero(predicted != predictions.labels)
    chosen = _choose(len(predicted), wrong)
    order = np.argsort(chosen)
    shown = dataclasses.replace(task, test=subsets.subset(task.test, chosen[order]))
    images = np.empty((len(chosen), rule.crop, rule.crop, 3), "float32")
    images[order] = pipeline.test_batches(shown, rule, len(chosen)).get_single_element()[0]

    rows = -(-len(chosen) // _COLUMNS)
    figure = Figure(figsize=(1.5 * _COLUMNS, 1.75 * rows + 0.5), layout="constrained")
    figure.suptitle(
        f"{task.name}: {len(predicted) - len(wrong)} of {len(predicted)} test images right\n"
        "green: right; red: the prediction, and what it is; some of the mistakes come last",
        parse_math=False,
        fontsize=11,
    )
    grid = figure.subplots(rows, _COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, index in zip(grid.flat, images, chosen, strict=False):
        said, truth = (
            _short(task.class_names[k]) for k in (predicted[index], predictions.labels[index])
        )
        right = predicted[index] == predictions.labels[index]
        axes.imshow(np.clip((image + 1) / 2, 0, 1))
        axes.set_title(
            said if right else f"{said}\nis {truth}",
            color=_RIGHT if right else _WRONG,
            fontsize=9,
            parse_math=False,
        )
    _save(figure, path)


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


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _save(figure: Figure, path: Path) -> None:
    with written_whole(path) as temporary, warnings.catch_warnings():
        # A class may be called in a script that matplotlib's font lacks: it shows boxes.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(temporary, dpi=110)

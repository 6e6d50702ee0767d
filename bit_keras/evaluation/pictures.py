"""Pictures of a run: its learning curve, and test images with what was said of them."""

import dataclasses
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bit_keras.atomic_file import written_whole
from bit_keras.data import pipeline
from bit_keras.data.tasks import Task
from bit_keras.evaluation.accuracy import Predictions
from bit_keras.hyperrule import HyperRule

_ROWS, _COLUMNS = 4, 8
_RIGHT, _WRONG = "#1a7f37", "#cf222e"


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
    figure.suptitle(title)
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

    The images are spread evenly over the test split; a wrong prediction is red and shows both.

    Args:
        predictions: of the whole test split.
        task: whose test images are shown.
        rule: of which only `crop` counts.
        path: of the PNG.
    """
    predicted = predictions.logits.argmax(axis=1)
    count = min(_ROWS * _COLUMNS, len(predicted))
    chosen = np.unique(np.linspace(0, len(predicted) - 1, count).astype(int))
    shown = dataclasses.replace(task, test=pipeline.subset(task.test, chosen))
    images, _ = pipeline.test_batches(shown, rule, len(chosen)).get_single_element()
    figure = Figure(figsize=(1.5 * _COLUMNS, 1.75 * _ROWS), layout="constrained")
    right = int((predicted == predictions.labels).sum())
    figure.suptitle(
        f"{task.name}: {right} of {len(predicted)} test images right. "
        "Green: predicted rightly. Red: the prediction, then the truth."
    )
    grid = figure.subplots(_ROWS, _COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, index in zip(grid.flat, images.numpy(), chosen, strict=False):
        said, truth = (task.class_names[k] for k in (predicted[index], predictions.labels[index]))
        axes.imshow(np.clip((image + 1) / 2, 0, 1))
        text = said if said == truth else f"{said}, is {truth}"
        axes.set_title(text, color=_RIGHT if said == truth else _WRONG, fontsize=9)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=110)

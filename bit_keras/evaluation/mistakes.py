"""A model's worst mistakes: the test images that it is wrong about and surest of."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bit_keras.data.tasks import Task
from bit_keras.evaluation.accuracy import Predictions
from bit_keras.evaluation.figure_file import save_figure
from bit_keras.evaluation.image_grid import (
    WRONG,
    Caption,
    plot_images,
    read_test_images,
    shorten,
)
from bit_keras.hyperrule import HyperRule

_ROWS, _COLUMNS = 4, 8
_MAX_NAME = 14  # characters that fit above an image


def find_worst_mistakes(predictions: Predictions) -> np.ndarray:
    """Returns the positions of all mistakes, that of the highest probability first."""
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    return wrong[np.argsort(-predictions.confidences[wrong], kind="stable")]


def plot_worst_mistakes(predictions: Predictions, task: Task, rule: HyperRule, path: Path) -> None:
    """Saves the worst mistakes with prediction, its probability and truth as a PNG.

    Args:
        predictions: of the whole test split.
        task: whose test images are shown.
        rule: of which only `crop` counts.
        path: of the PNG.
    """
    wrong = find_worst_mistakes(predictions)
    total = len(predictions.labels)
    if not len(wrong):
        _plot_none(f"{task.name}: no mistakes, all {total} test images are right", path)
        return
    chosen = wrong[: _ROWS * _COLUMNS]
    mistakes = "1 mistake" if len(wrong) == 1 else f"{len(wrong)} mistakes"
    shown = f", the worst {len(chosen)}" if len(chosen) < len(wrong) else ""
    plot_images(
        read_test_images(task, rule, chosen),
        [_caption(predictions, task, index) for index in chosen],
        min(_COLUMNS, max(4, len(chosen))),  # the title needs the width of four
        f"{task.name}: {mistakes} in {total} test images{shown}\n"
        "the prediction, its probability, what it is; the surest first",
        path,
    )


def _caption(predictions: Predictions, task: Task, index: int) -> Caption:
    said, truth = (
        shorten(task.class_names[labels[index]], _MAX_NAME)
        for labels in (predictions.predicted, predictions.labels)
    )
    return Caption(f"{said}\n{predictions.confidences[index]:.1%}\nis {truth}", WRONG)


def _plot_none(text: str, path: Path) -> None:
    figure = Figure(figsize=(7, 1.5))
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=11, parse_math=False)
    save_figure(figure, path)

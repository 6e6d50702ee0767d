"""Test images with captions, as one picture."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bit_keras.data import pipeline, subsets
from bit_keras.data.tasks import Task
from bit_keras.evaluation.figure_file import save_figure
from bit_keras.hyperrule import HyperRule

RIGHT, WRONG = "#1a7f37", "#cf222e"  # green and red, as dark as text must be


@dataclasses.dataclass(frozen=True)
class Caption:
    """What stands above an image: lines of text, and their colour."""

    text: str
    colour: str


def read_test_images(task: Task, rule: HyperRule, chosen: np.ndarray) -> np.ndarray:
    """Returns some test images as a network sees them; no other is decoded.

    Args:
        task: whose test images they are.
        rule: of which only `crop` counts.
        chosen: distinct positions in the test split, at least one.

    Returns:
        float32 `[len(chosen), crop, crop, 3]` in [0, 1], in the order of `chosen`.
    """
    order = np.argsort(chosen)
    shown = dataclasses.replace(task, test=subsets.subset(task.test, chosen[order]))
    images = np.empty((len(chosen), rule.crop, rule.crop, 3), "float32")
    images[order] = pipeline.test_batches(shown, rule, len(chosen)).get_single_element()[0]
    return np.clip((images + 1) / 2, 0, 1)


def plot_images(
    images: np.ndarray, captions: Sequence[Caption], columns: int, title: str, path: Path
) -> None:
    """Saves images with captions as a PNG.

    Args:
        images: float32 `[N, H, W, 3]` in [0, 1], N at least one.
        captions: one for each image.
        columns: images in a row.
        title: of the picture.
        path: of the PNG.
    """
    rows = -(-len(images) // columns)
    lines = 1 + max(caption.text.count("\n") for caption in captions)
    # In inches: an image, 0.15 for each line of text, and two lines of title with some air.
    height = rows * (1.5 + 0.15 * lines) + 0.75
    figure = Figure(figsize=(1.5 * columns, height), layout="constrained")
    figure.suptitle(title, parse_math=False, fontsize=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, caption in zip(grid.flat, images, captions, strict=False):
        axes.imshow(image)
        axes.set_title(caption.text, color=caption.colour, fontsize=9, parse_math=False)
    save_figure(figure, path)


def shorten(name: str, length: int) -> str:
    """Returns a name of at most so many characters.

    >>> shorten("Staffordshire bull terrier", 14)
    'Staffordshire…'
    """
    return name if len(name) <= length else f"{name[: length - 1]}…"

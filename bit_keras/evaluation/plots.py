"""Pictures of a run: its learning curve, and test images above which the prediction is written."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import logging
from matplotlib.figure import Figure
from matplotlib.text import Text

from bit_keras.data import pipeline, subsets
from bit_keras.data.tasks import Task
from bit_keras.evaluation.predictions import Predictions
from bit_keras.utils.atomic_file import atomic_write
from bit_keras.utils.printable import printable

# Each point of a smoothed line is the mean of at most 9 points: itself, and up to four on each
# side.
_WINDOW = 9

# A picture shows at most 4 rows of 8 test images.
_ROWS, _COLUMNS = 4, 8

# The last row of a picture of predictions shows at most 8 wrong predictions.
_SAMPLED_MISTAKES = _COLUMNS

# A class name is cut to 14 characters, so that it fits above an image.
_MAX_NAME = 14

# The colours of captions for right and wrong predictions, dark enough to be read on white.
_GREEN, _RED = "#1a7f37", "#cf222e"


def save_figure(figure: Figure, path: Path) -> None:
    """Saves a figure as a PNG; an interruption leaves no partial file.

    Lone surrogates in its texts are escaped, because matplotlib refuses them. The ticks of an axis
    get their texts later, so names at ticks must come from `shorten`.
    """
    for text in figure.findobj(Text):
        text.set_text(printable(text.get_text()))
    with atomic_write(path) as temporary, warnings.catch_warnings():
        # If the font lacks a character of a class name, matplotlib draws a box. That is good
        # enough, so matplotlib's warning is hidden.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(temporary, dpi=110)


@contextlib.contextmanager
def without_losing_results(path: Path) -> Iterator[Path]:
    """Yields the path of a picture or a table; an error inside the block becomes a warning.

    The file is drawn from results that have taken hours and are not yet written, and an error
    would lose them.
    """
    try:
        yield path
    except Exception as error:
        # A picture or table that an earlier run left at this path is removed, because it would show
        # other results.
        path.unlink(missing_ok=True)
        logging.warning(
            "%s was not written, because of %s: %s. The results do not depend on it.",
            path,
            type(error).__name__,
            error,
        )


def shorten(name: str, length: int) -> str:
    """Returns a name that matplotlib can draw, cut to at most `length` characters.

    >>> shorten("Staffordshire bull terrier", 14)
    'Staffordshire…'
    """
    name = printable(name)
    return name if len(name) <= length else f"{name[: length - 1]}…"


def plot_learning_curve(history: dict, test_accuracy: float, title: str, path: Path) -> None:
    """Saves a PNG of the loss and accuracy over the training steps.

    Args:
        history: lists of equal length: `step`, `loss`, `accuracy` (0 to 1), `learning_rate`. If
            the run evaluated held-out examples, `validation` is a dict of the lists `step`,
            `loss` and `accuracy`.
            A line of many points is drawn smoothed, over a pale line of the points.
        test_accuracy: 0 to 1, over the whole test split at the end; drawn as a dashed line.
        title: the title of the picture.
        path: the PNG file.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    figure.suptitle(title, parse_math=False)
    loss, accuracy = figure.subplots(2, 1, sharex=True)
    _plot_points(loss, accuracy, history, "training", "tab:blue")
    if "validation" in history:
        _plot_points(loss, accuracy, history["validation"], "held-out", "tab:green")
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


def _plot_points(loss, accuracy, points: dict, label: str, color: str) -> None:
    values = {loss: points["loss"], accuracy: 100 * np.asarray(points["accuracy"])}
    style = {"color": color, "marker": _marker(points)}
    for axes, line in values.items():
        if len(line) > _WINDOW:
            axes.plot(points["step"], line, alpha=0.3, **style)
            line = smoothed(line)
        axes.plot(points["step"], line, label=label, **style)


def smoothed(values: Sequence[float]) -> np.ndarray:
    """Returns the mean of each value and its neighbours: up to four before it and four after it.

    >>> smoothed([0.0, 9.0, 0.0]).tolist()
    [3.0, 3.0, 3.0]
    """
    half = _WINDOW // 2
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return np.array([np.mean(window) for window in windows])


def _marker(points: dict) -> str | None:
    """Returns a marker for a line of a single point, which would be invisible without a marker."""
    return "o" if len(points["step"]) == 1 else None


def plot_predictions(predictions: Predictions, task: Task, crop: int, path: Path) -> None:
    """Saves a PNG of test images as the network sees them, with predicted and true class.

    The first images are spread evenly over the test split; the last ones are some of the
    mistakes. A wrong prediction is written in red, above the true class.

    Args:
        predictions: the predictions of the whole test split.
        task: the task whose test images are shown.
        crop: side in pixels of the resized images.
        path: the PNG file.
    """
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    total = len(predictions.labels)
    chosen = _sample(total, wrong)
    plot_images(
        read_test_images(task, crop, chosen),
        [_caption(predictions, task, index) for index in chosen],
        _COLUMNS,
        f"{task.name}: {total - len(wrong)} of {total} test images right\n"
        "green: right; red: wrong, with the true class below; the last images are mistakes",
        path,
    )


def _sample(count: int, wrong: np.ndarray) -> np.ndarray:
    """Returns the positions of the test images to show: a sample, then some wrong predictions."""
    mistakes = _spread(wrong, _SAMPLED_MISTAKES)
    others = np.setdiff1d(np.arange(count), mistakes)
    return np.concatenate([_spread(others, _ROWS * _COLUMNS - len(mistakes)), mistakes])


def _spread(positions: np.ndarray, most: int) -> np.ndarray:
    """Returns at most `most` of the given positions, spread evenly over them."""
    if len(positions) <= most:
        return positions
    return positions[np.linspace(0, len(positions) - 1, most).astype(int)]


def find_worst_mistakes(predictions: Predictions) -> np.ndarray:
    """Returns the positions of all wrong predictions, the most confident prediction first."""
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    return wrong[np.argsort(-predictions.confidences[wrong], kind="stable")]


def plot_worst_mistakes(predictions: Predictions, task: Task, crop: int, path: Path) -> None:
    """Saves a PNG of the most confident wrong predictions, with probability and true class.

    Args:
        predictions: the predictions of the whole test split.
        task: the task whose test images are shown.
        crop: side in pixels of the resized images.
        path: the PNG file.
    """
    wrong = find_worst_mistakes(predictions)
    total = len(predictions.labels)
    if not len(wrong):
        figure = Figure(figsize=(7, 1.5))
        text = f"{task.name}: no mistakes, all {total} test images are right"
        figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=11, parse_math=False)
        save_figure(figure, path)
        return
    chosen = wrong[: _ROWS * _COLUMNS]
    mistakes = "1 mistake" if len(wrong) == 1 else f"{len(wrong)} mistakes"
    shown = f", the worst {len(chosen)}" if len(chosen) < len(wrong) else ""
    plot_images(
        read_test_images(task, crop, chosen),
        [_caption(predictions, task, index, has_probability=True) for index in chosen],
        # The picture has at least four columns, because the title is as wide as four images.
        min(_COLUMNS, max(4, len(chosen))),
        f"{task.name}: {mistakes} in {total} test images{shown}\n"
        "the prediction, its probability, and the true class; the most confident mistake first",
        path,
    )


@dataclasses.dataclass(frozen=True)
class Caption:
    """The lines of text above an image in a picture, and the colour of the text."""

    text: str
    colour: str


def _caption(
    predictions: Predictions, task: Task, index: int, has_probability: bool = False
) -> Caption:
    label, truth = predictions.predicted[index], predictions.labels[index]
    lines = [shorten(task.class_names[label], _MAX_NAME)]
    if has_probability:
        lines.append(f"{predictions.confidences[index]:.1%}")
    if label != truth:
        lines.append(f"is {shorten(task.class_names[truth], _MAX_NAME)}")
    return Caption("\n".join(lines), _GREEN if label == truth else _RED)


def read_test_images(task: Task, crop: int, chosen: np.ndarray) -> np.ndarray:
    """Returns the chosen test images, resized as for the network; no other image is decoded.

    Args:
        task: the task whose test images are read.
        crop: side in pixels of the resized images.
        chosen: distinct positions in the test split, at least one.

    Returns:
        float32 `[len(chosen), crop, crop, 3]` in [0, 1], in the order of `chosen`.
    """
    order = np.argsort(chosen)
    shown = dataclasses.replace(task, test=subsets.subset(task.test, chosen[order]))
    images = np.empty((len(chosen), crop, crop, 3), "float32")
    images[order] = pipeline.test_batches(shown, crop, len(chosen)).get_single_element()[0]
    return np.clip((images + 1) / 2, 0, 1)


def plot_images(
    images: np.ndarray, captions: Sequence[Caption], columns: int, title: str, path: Path
) -> None:
    """Saves a PNG of images in a grid, each with a caption above it.

    Args:
        images: float32 `[N, H, W, 3]` in [0, 1], N at least one.
        captions: one for each image.
        columns: the number of images in a row.
        title: the title of the picture, of at most two lines.
        path: the PNG file.
    """
    rows = -(-len(images) // columns)
    lines = 1 + max(caption.text.count("\n") for caption in captions)
    # Heights in inches: 1.5 for an image, 0.15 for a line of its caption, 0.75 for the title.
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

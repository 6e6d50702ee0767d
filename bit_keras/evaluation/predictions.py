"""A model's predictions on a whole test split, and the accuracy and loss of the predictions."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from bit_keras.data import pipeline, subsets
from bit_keras.data.corrupt_images import naming_unreadable
from bit_keras.data.tasks import Task
from bit_keras.models.last_operation import last_activation
from bit_keras.models.pixel_range import NETWORK_RANGE, pixel_range, takes_network_range

# The number of test images in a batch. It changes the use of memory, but not the results.
BATCH_SIZE = 64

_TOP = 5

# The sum of a row of probabilities may differ from 1 by this much, because of half precision.
_SUM_TOLERANCE = 0.02

# The number of test images whose logits are processed at a time, to save memory. With the 1000
# classes of ILSVRC-2012, 512 rows in float64 take 4 MB; all 50 000 test images at once would take
# 400 MB.
_BLOCK = 512


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's logits for a test split, and the metrics computed from the logits.

    Of classes with equal logits, the one of the lower label counts as more probable.

    Attributes:
        logits: float32 `[num_test_examples, num_classes]`, finite, in the split's order.
        labels: int64 `[num_test_examples]`, the true classes.
    """

    logits: np.ndarray
    labels: np.ndarray

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class of each test image, int64 `[num_test_examples]`."""
        return self.logits.argmax(axis=1)

    @cached_property
    def confidences(self) -> np.ndarray:
        """The softmax probability of each image's most probable class, `[num_test_examples]`."""
        highest = self.logits.max(axis=1).astype("float64")
        return np.exp(highest - self._log_sums)

    def metrics(self) -> dict[str, float | int | None]:
        """Returns accuracy and loss over all test images.

        Returns:
            `test_accuracy` (0 to 1); `test_top5_accuracy` (0 to 1: the true class is among the
            five most probable; None for tasks of up to five classes, where it always is);
            `test_loss` (softmax cross-entropy in nats); `num_test_examples`.
        """
        true = np.take_along_axis(self.logits, self.labels[:, None], axis=1)[:, 0]
        return {
            "test_accuracy": float((self.predicted == self.labels).mean()),
            "test_top5_accuracy": self._top_accuracy(_TOP),
            "test_loss": float((self._log_sums - true.astype("float64")).mean()),
            "num_test_examples": len(self.labels),
        }

    def per_class_accuracy(self) -> np.ndarray:
        """Returns each class's accuracy, `[num_classes]`; nan for a class without test images."""
        totals, rights = self.per_class_counts()
        return np.divide(rights, totals, out=np.full(len(totals), np.nan), where=totals > 0)

    def per_class_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns each class's number of test images, and how many of them are predicted correctly.

        Both are int64 `[num_classes]`.
        """
        right = self.labels[self.predicted == self.labels]
        classes = self.logits.shape[1]
        return np.bincount(self.labels, minlength=classes), np.bincount(right, minlength=classes)

    def _top_accuracy(self, top: int) -> float | None:
        if self.logits.shape[1] <= top:
            return None
        return float((_by_blocks(_rank_of_truth, self.logits, self.labels) < top).mean())

    @cached_property
    def _log_sums(self) -> np.ndarray:
        return _by_blocks(_log_sum_exp, self.logits)


def _by_blocks(function: Callable, *arrays: np.ndarray) -> np.ndarray:
    """Applies a function to blocks of images, so that few logits are copied to float64 at once."""
    starts = range(0, len(arrays[0]), _BLOCK)
    return np.concatenate([function(*(a[k : k + _BLOCK] for a in arrays)) for k in starts])


def _log_sum_exp(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype("float64")
    highest = logits.max(axis=1)
    return highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))


def _rank_of_truth(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns for each image how many classes are more probable than the true class.

    Args:
        logits: `[rows, classes]`.
        labels: the true classes, integers `[rows]`.
    """
    true = np.take_along_axis(logits, labels[:, None], axis=1)
    lower_label = np.arange(logits.shape[1]) < labels[:, None]
    return ((logits > true) | ((logits == true) & lower_label)).sum(axis=1)


def predict(model: keras.Model, task: Task, crop: int, progress_bar: bool = False) -> Predictions:
    """Returns a model's predictions for all test images, resized to `crop` by `crop` pixels.

    Args:
        model: maps images `[batch, crop, crop, 3]` in [-1, 1] to logits
            `[batch, task.num_classes]`.
        task: the task whose whole test split is predicted.
        crop: side in pixels of the resized images.
        progress_bar: if True, show a progress bar on a terminal.

    Raises:
        ValueError: an image cannot be read; the message names it.
        FloatingPointError: a logit is not finite, so that no class is the most probable one.
    """
    logits = predict_test_images(model, task, crop, "logits", progress_bar)
    return Predictions(logits, subsets.read_labels(task.test))


def predict_test_images(
    model: keras.Model, task: Task, crop: int, gives: str, progress_bar: bool = False
) -> np.ndarray:
    """Returns a model's output for all test images, float32 `[num_test_examples, outputs]`.

    Args:
        model: maps images `[batch, crop, crop, 3]` in [-1, 1] to `[batch, outputs]`.
        task: the task whose whole test split is read, in its order.
        crop: side in pixels of the resized images.
        gives: what the outputs are, for the message of an error, such as "logits".
        progress_bar: if True, show a progress bar on a terminal.

    Raises:
        ValueError: an image cannot be read; the message names it.
        FloatingPointError: an output is not finite.
    """
    batches = pipeline.test_batches(task, crop, BATCH_SIZE)
    # Elsewhere than on a terminal, each state of Keras' bar would be a line with colour codes.
    verbose = int(progress_bar and sys.stdout.isatty())
    with naming_unreadable(lambda: batches):
        values = model.predict(batches.map(lambda images, _: images), verbose=verbose)
    finite = _by_blocks(lambda rows: np.isfinite(rows).all(axis=1), values)
    if not finite.all():
        raise FloatingPointError(
            f"Model {model.name!r} gives {gives} that are not finite for {(~finite).sum()} of "
            f"{len(finite)} images of {task.name}. Its weights may have been damaged by training "
            "at too high a learning rate, or its dtype may overflow; try float32."
        )
    return values


def check_classifier(model: keras.Model, task: Task, crop: int) -> None:
    """Raises a ValueError unless a model fits the size of the images and the task's classes."""
    needed = f"task {task.name!r} needs"
    gives = getattr(model, "output_shape", None)
    if not isinstance(gives, tuple) or len(gives) != 2 or gives[-1] != task.num_classes:
        raise ValueError(
            f"Model {model.name!r} gives {gives}; {needed} logits of shape "
            f"(None, {task.num_classes}). Build it with classes={task.num_classes}."
        )
    check_input(model, crop, needed)
    activation = last_activation(model)
    if activation in ("softmax", "sigmoid"):
        raise ValueError(
            f"Model {model.name!r} ends in a {activation}; {needed} logits. Build it with "
            "classifier_activation=None."
        )
    if activation is None and _gives_probabilities(model, crop):
        raise ValueError(
            f"Model {model.name!r} gives probabilities: its outputs on random images are at least "
            f"0, and their sum is 1. {needed[0].upper()}{needed[1:]} logits. Leave out the softmax "
            "at the end of the model."
        )


def check_input(model: keras.Model, crop: int, needed: str) -> None:
    """Raises a ValueError unless the model takes colour images of `crop` by `crop` pixels.

    Args:
        model: the model.
        crop: the side of the images in pixels.
        needed: what needs these images, for the message, such as "the probe needs".
    """
    takes = getattr(model, "input_shape", None)
    sides = {None, crop}
    if (
        not isinstance(takes, tuple)
        or len(takes) != 4
        or takes[3] != 3
        or not sides.issuperset(takes[1:3])
    ):
        raise ValueError(
            f"Model {model.name!r} takes input of shape {takes}; {needed} it to take images "
            f"(None, {crop}, {crop}, 3). Build it with input_shape=(None, None, 3)."
        )
    own_range = pixel_range(model)
    if own_range is None and not takes_network_range(model):
        raise ValueError(
            f"Model {model.name!r} has layers in front of the network that change the values of "
            f"pixels, and they do not fit images in [-1, 1]; {needed} it to take such images. Pass "
            "the network without these layers; or put a Rescaling in front of them that makes the "
            "values of pixels that they expect of images in [-1, 1], such as Rescaling(127.5, "
            "offset=127.5) for pixels from 0 to 255."
        )
    if own_range not in (NETWORK_RANGE, None):
        raise ValueError(
            f"Model {model.name!r} scales images from {own_range[0]:g} to {own_range[1]:g} itself; "
            f"{needed} it to take images in [-1, 1], and they would be scaled twice. Pass the "
            "network without the layers in front that scale its input."
        )


def _gives_probabilities(model: keras.Model, crop: int) -> bool:
    """Returns True if a model's outputs on random images are probabilities."""
    images = np.random.default_rng(0).uniform(-1, 1, (2, crop, crop, 3)).astype("float32")
    values = keras.ops.cast(model(images, training=False), "float32")
    return are_probabilities(keras.ops.convert_to_numpy(values))


def are_probabilities(values: np.ndarray) -> bool:
    """Returns True if the rows of `[batch, classes]` are not negative and their sum is 1."""
    is_one = np.abs(values.sum(axis=1) - 1) < _SUM_TOLERANCE
    return values.shape[1] > 1 and bool((values >= 0).all() and is_one.all())

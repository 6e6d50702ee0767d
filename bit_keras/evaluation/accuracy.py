"""Accuracy over a whole test split."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from bit_keras.data import pipeline, subsets
from bit_keras.data.tasks import Task
from bit_keras.data.tasks import task as task_of_name
from bit_keras.data.unreadable import naming_unreadable
from bit_keras.hyperrule import HyperRule

# Test images a step: no statistics hang on it, it has only to fit the memory.
BATCH_SIZE = 64

_TOP = 5

# Rows of logits that are worked on at a time: in float64, 4 MB with the 1000 classes of
# ILSVRC-2012, where all of its 50 000 rows would take 400 MB, and each step another 400.
_BLOCK = 512


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of a test split.

    Of classes with equal logits, the one of the lower label comes first.

    Attributes:
        logits: float32 `[num_test_examples, num_classes]`, finite, in the split's order.
        labels: int64 `[num_test_examples]`.
    """

    logits: np.ndarray
    labels: np.ndarray

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most probable classes, int64 `[num_test_examples]`."""
        return self.logits.argmax(axis=1)

    @cached_property
    def confidences(self) -> np.ndarray:
        """The probabilities (softmax) of the most probable classes, `[num_test_examples]`."""
        highest = self.logits.max(axis=1).astype("float64")
        return np.exp(highest - self._log_sums)

    def metrics(self) -> dict[str, float | int | None]:
        """Returns numbers over all test images.

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
        """Returns the accuracy on each class's test images, `[num_classes]`; nan without any."""
        totals, rights = self.per_class_counts()
        return np.divide(rights, totals, out=np.full(len(totals), np.nan), where=totals > 0)

    def per_class_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns each class's test images and how many are right, int64 `[num_classes]` each."""
        right = self.labels[self.predicted == self.labels]
        classes = self.logits.shape[1]
        return np.bincount(self.labels, minlength=classes), np.bincount(right, minlength=classes)

    def _top_accuracy(self, top: int) -> float | None:
        if self.logits.shape[1] <= top:
            return None
        return float((_by_blocks(_classes_before, self.logits, self.labels) < top).mean())

    @cached_property
    def _log_sums(self) -> np.ndarray:
        return _by_blocks(_log_sum_exp, self.logits)


def _by_blocks(function: Callable, *arrays: np.ndarray) -> np.ndarray:
    """The function of all rows, without float64 copies of all rows at the same time."""
    starts = range(0, len(arrays[0]), _BLOCK)
    return np.concatenate([function(*(a[k : k + _BLOCK] for a in arrays)) for k in starts])


def _log_sum_exp(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype("float64")
    highest = logits.max(axis=1)
    return highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))


def _classes_before(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the true one: 0 where the prediction is right."""
    true = np.take_along_axis(logits, labels[:, None], axis=1)
    lower_label = np.arange(logits.shape[1]) < labels[:, None]
    return ((logits > true) | ((logits == true) & lower_label)).sum(axis=1)


def predict(
    model: keras.Model, task: Task, rule: HyperRule, progress_bar: bool = False
) -> Predictions:
    """Returns a model's predictions of all test images, at the rule's test resolution.

    Args:
        model: takes images `[batch, crop, crop, 3]` in [-1, 1] and gives logits
            `[batch, task.num_classes]`.
        task: whose test split is taken, whole.
        rule: of which only `crop` counts.
        progress_bar: whether to show one.

    Raises:
        ValueError: an image cannot be read; the message names it.
        FloatingPointError: a logit is not finite, so that no class is the most probable one.
    """
    batches = pipeline.test_batches(task, rule, BATCH_SIZE)
    with naming_unreadable(lambda: batches):
        logits = model.predict(batches.map(lambda images, _: images), verbose=int(progress_bar))
        labels = subsets.read_labels(task.test)
    finite = _by_blocks(lambda rows: np.isfinite(rows).all(axis=1), logits)
    if not finite.all():
        raise FloatingPointError(
            f"Model {model.name!r} gives logits that are not finite for {(~finite).sum()} of "
            f"{len(finite)} test images of {task.name}. Its weights are broken, as after training "
            "at too high a learning rate, or its dtype overflows."
        )
    return Predictions(logits, labels)


def evaluate(model: keras.Model, task: str | Task, rule: HyperRule | None = None) -> dict:
    """Returns a model's accuracy and loss on a task's whole test split.

    Args:
        model: a classifier of the task's classes that gives logits.
        task: a task, or a name for `bit_keras.task`.
        rule: the rule that it was trained by, of which only the test resolution counts; None is
            the BiT-HyperRule of the task and the model.

    Returns:
        A dict of `test_accuracy` (0 to 1), `test_top5_accuracy` (0 to 1; None for tasks of up to
        five classes), `test_loss` (nats), `num_test_examples`, and `per_class_accuracy`, a dict
        by class name (0 to 1; None for a class without test images).

    Raises:
        ValueError: the model does not give one logit for each class.
        FloatingPointError: it gives logits that are not finite.
    """
    if isinstance(task, str):
        task = task_of_name(task)
    if rule is None:
        rule = HyperRule.for_task(task.num_examples, task.image_size, model.name)
    check_classifier(model, task, rule)
    predictions = predict(model, task, rule)
    return {
        **predictions.metrics(),
        "per_class_accuracy": by_class_name(predictions.per_class_accuracy(), task),
    }


def by_class_name(values: np.ndarray, task: Task) -> dict[str, float | None]:
    """Returns a number for each class as a dict by its name, None for nan.

    Raises:
        ValueError: two classes have the same name.
    """
    if len(set(task.class_names)) < task.num_classes:
        repeated = next(name for name in task.class_names if task.class_names.count(name) > 1)
        raise ValueError(
            f"Task {task.name!r}: several classes are called {repeated!r}; expected a name of its "
            "own for each. Rename them with dataclasses.replace(task, class_names=...)."
        )
    numbers = (None if np.isnan(value) else float(value) for value in values)
    return dict(zip(task.class_names, numbers, strict=True))


def check_classifier(model: keras.Model, task: Task, rule: HyperRule) -> None:
    """Raises a ValueError unless the model takes the rule's images and gives the task's logits."""
    needed = f"task {task.name!r} needs"
    takes, gives = (getattr(model, f"{end}_shape", None) for end in ("input", "output"))
    if not isinstance(gives, tuple) or len(gives) != 2 or gives[-1] != task.num_classes:
        raise ValueError(
            f"Model {model.name!r} gives {gives}; {needed} logits of shape "
            f"(None, {task.num_classes}). Build it with classes={task.num_classes}."
        )
    if not isinstance(takes, tuple) or len(takes) != 4 or not _takes_images(takes, rule.crop):
        raise ValueError(
            f"Model {model.name!r} takes images {takes[1:]}; {needed} it to take "
            f"({rule.crop}, {rule.crop}, 3). Build it with input_shape=(None, None, 3)."
        )
    activation = _last_activation(model)
    if activation in ("softmax", "sigmoid"):
        raise ValueError(
            f"Model {model.name!r} ends in a {activation}; {needed} logits. Build it with "
            "classifier_activation=None."
        )


def _takes_images(shape: tuple[int | None, ...], crop: int) -> bool:
    _, height, width, channels = shape
    return channels == 3 and {height, width} <= {None, crop}


def _last_activation(model: keras.Model) -> str | None:
    """The name of what is applied last, in a model or in the model that ends it."""
    last = model.layers[-1]
    if isinstance(last, keras.Model):
        return _last_activation(last)
    if isinstance(last, keras.layers.Softmax):
        return "softmax"
    return getattr(getattr(last, "activation", None), "__name__", None)

"""Accuracy over a whole test split."""

from dataclasses import dataclass

import keras
import numpy as np

from bit_keras.data import pipeline
from bit_keras.data.tasks import Task
from bit_keras.hyperrule import HyperRule

# Test images a step: no statistics hang on it, it has only to fit the memory.
BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of a test split.

    Attributes:
        logits: float32 `[num_test_examples, num_classes]`, in the split's order.
        labels: int64 `[num_test_examples]`.
    """

    logits: np.ndarray
    labels: np.ndarray

    def metrics(self) -> dict[str, float | int]:
        """Returns `test_accuracy` (0 to 1), `test_loss` (nats) and `num_test_examples`."""
        logits = self.logits.astype("float64")
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_sums = np.log(np.exp(shifted).sum(axis=1))
        losses = log_sums - np.take_along_axis(shifted, self.labels[:, None], axis=1)[:, 0]
        return {
            "test_accuracy": float((logits.argmax(axis=1) == self.labels).mean()),
            "test_loss": float(losses.mean()),
            "num_test_examples": len(self.labels),
        }


def predict(model: keras.Model, task: Task, rule: HyperRule) -> Predictions:
    """Returns a model's predictions of all test images, at the rule's test resolution.

    Args:
        model: takes images `[batch, crop, crop, 3]` in [-1, 1] and gives logits
            `[batch, task.num_classes]`.
        task: whose test split is taken, whole.
        rule: of which only `crop` counts.
    """
    batches = pipeline.test_batches(task, rule, BATCH_SIZE)
    logits = model.predict(batches.map(lambda images, _: images), verbose=0)
    return Predictions(logits, pipeline.read_labels(task.test))


def evaluate(model: keras.Model, task: Task, rule: HyperRule | None = None) -> dict:
    """Returns a model's accuracy and loss on a task's whole test split.

    Args:
        model: a classifier of the task's classes that gives logits.
        task: from `bit_keras.task`.
        rule: the rule that it was trained by, of which only the test resolution counts; None is
            the BiT-HyperRule of the task.

    Returns:
        A dict of `test_accuracy` (0 to 1), `test_loss` (nats) and `num_test_examples`.

    Raises:
        ValueError: the model does not give one logit for each class.
    """
    check_classifier(model, task)
    if rule is None:
        rule = HyperRule.for_task(task.num_examples, task.image_size)
    return predict(model, task, rule).metrics()


def check_classifier(model: keras.Model, task: Task) -> None:
    """Raises a ValueError unless the model gives one logit for each class of the task."""
    if model.output_shape != (None, task.num_classes):
        raise ValueError(
            f"Model {model.name!r} gives {model.output_shape}; task {task.name!r} needs logits of "
            f"shape (None, {task.num_classes}). Build it with classes={task.num_classes}."
        )

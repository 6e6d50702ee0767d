"""Accuracy over a whole test split."""

from dataclasses import dataclass

import keras
import numpy as np

from bit_keras.data import pipeline, subsets
from bit_keras.data.tasks import Task
from bit_keras.data.tasks import task as task_of_name
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
    return Predictions(logits, subsets.read_labels(task.test))


def evaluate(model: keras.Model, task: str | Task, rule: HyperRule | None = None) -> dict:
    """Returns a model's accuracy and loss on a task's whole test split.

    Args:
        model: a classifier of the task's classes that gives logits.
        task: a task, or a name for `bit_keras.task`.
        rule: the rule that it was trained by, of which only the test resolution counts; None is
            the BiT-HyperRule of the task.

    Returns:
        A dict of `test_accuracy` (0 to 1), `test_loss` (nats) and `num_test_examples`.

    Raises:
        ValueError: the model does not give one logit for each class.
    """
    if isinstance(task, str):
        task = task_of_name(task)
    if rule is None:
        rule = HyperRule.for_task(task.num_examples, task.image_size)
    check_classifier(model, task, rule)
    return predict(model, task, rule).metrics()


def check_classifier(model: keras.Model, task: Task, rule: HyperRule) -> None:
    """Raises a ValueError unless the model takes the rule's images and gives the task's logits."""
    needed = f"task {task.name!r} needs"
    if len(model.output_shape) != 2 or model.output_shape[-1] != task.num_classes:
        raise ValueError(
            f"Model {model.name!r} gives {model.output_shape}; {needed} logits of shape "
            f"(None, {task.num_classes}). Build it with classes={task.num_classes}."
        )
    height, width, channels = model.input_shape[1:]
    if channels != 3 or not {height, width} <= {None, rule.crop}:
        raise ValueError(
            f"Model {model.name!r} takes images {model.input_shape[1:]}; {needed} it to take "
            f"({rule.crop}, {rule.crop}, 3). Build it with input_shape=(None, None, 3)."
        )
    activation = getattr(model.layers[-1], "activation", None)
    if activation in (keras.activations.softmax, keras.activations.sigmoid):
        raise ValueError(
            f"Model {model.name!r} ends in a {activation.__name__}; {needed} logits. Build it with "
            "classifier_activation=None."
        )

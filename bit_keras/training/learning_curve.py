"""The learning curve of a run, kept while it trains."""

import math
from pathlib import Path

import keras
import tensorflow as tf

from bit_keras.hyperrule import HyperRule

# Points on the curve; more than a picture can show, few enough for a JSON file.
_POINTS = 100


class LearningCurve(keras.callbacks.Callback):
    """Keeps loss, accuracy and learning rate, and writes them as TensorBoard events.

    Each point is the mean over the steps since the one before.

    Args:
        rule: by which the model trains.
        events: directory of the TensorBoard events.

    Attributes:
        history: lists of equal length: step (the number of steps done), loss (nats), accuracy
            (0 to 1), learning_rate.
    """

    def __init__(self, rule: HyperRule, events: Path):
        super().__init__()
        self.rule = rule
        self.interval = max(1, rule.steps // _POINTS)
        self.history = {"step": [], "loss": [], "accuracy": [], "learning_rate": []}
        self.writer = tf.summary.create_file_writer(str(events))

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        if batch % self.interval == 0:
            self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        step = batch + 1
        if step % self.interval and step != self.rule.steps:
            return
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"The loss is {logs['loss']} after {step} steps: training diverged at a learning "
                f"rate of {self.rule.learning_rate(batch):g}. Lower base_lr, or look for broken "
                "weights or images."
            )
        point = {
            "loss": float(logs["loss"]),
            "accuracy": float(logs["accuracy"]),
            "learning_rate": self.rule.learning_rate(batch),
        }
        with self.writer.as_default(step=step):
            for name, value in point.items():
                tf.summary.scalar(name, value)
        for name, value in {"step": step, **point}.items():
            self.history[name].append(value)

    def on_train_end(self, logs: dict | None = None) -> None:
        self.writer.close()

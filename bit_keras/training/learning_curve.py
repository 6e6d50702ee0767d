"""The learning curve of a run, kept while it trains."""

import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import keras
import tensorflow as tf

# Points on the curve; more than a picture can show, few enough for a JSON file.
_POINTS = 100

_MEANS = ("loss", "accuracy")


class LearningCurve(keras.callbacks.Callback):
    """Keeps loss, accuracy and learning rate, and writes them as TensorBoard events.

    Each point is the mean over the steps since the one before.

    Args:
        steps: of the whole run.
        learning_rate: from a step, counted from 0, to the rate that the optimizer takes there.
        events: directory of the TensorBoard events; None writes none.
        validated: whether the model is evaluated on held-out examples while it trains.

    Attributes:
        step: number of steps done.
        history: lists of equal length: step, loss (nats), accuracy (0 to 1), learning_rate; and
            if validated, "validation": a dict of such lists, step, loss and accuracy.
    """

    def __init__(
        self,
        steps: int,
        learning_rate: Callable[[int], float],
        events: Path | None,
        validated: bool = False,
    ):
        super().__init__()
        self.steps, self.learning_rate = steps, learning_rate
        self.step = 0
        self.history = {"step": [], "loss": [], "accuracy": [], "learning_rate": []}
        if validated:
            self.history["validation"] = {"step": [], "loss": [], "accuracy": []}
        self._interval = max(1, steps // _POINTS)
        self._since_last = {name: [] for name in _MEANS}
        self._writer = (
            tf.summary.create_noop_writer()
            if events is None
            else tf.summary.create_file_writer(str(events))
        )

    def state(self) -> dict:
        """Returns all that `restore` needs to go on, as plain data."""
        return {"step": self.step, "history": self.history, "since_last": self._since_last}

    def restore(self, state: dict) -> None:
        """Goes on from a state."""
        self.step, self.history, self._since_last = (
            state[name] for name in ("step", "history", "since_last")
        )

    def add_validation(self, loss: float, accuracy: float) -> None:
        """Adds what the model, as it is after this step, makes of the held-out examples."""
        points = self.history["validation"]
        for name, value in {"step": self.step, "loss": loss, "accuracy": accuracy}.items():
            points[name].append(value)
        self._write({"validation_loss": loss, "validation_accuracy": accuracy})

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.model.reset_metrics()  # so that `logs` are of this step alone

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        rate = self.learning_rate(self.step)
        self.step += 1
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"The loss is {logs['loss']} at step {self.step}: training diverged at a learning "
                f"rate of {rate:g}. Lower base_lr, or look for broken weights or images."
            )
        for name in _MEANS:
            self._since_last[name].append(float(logs[name]))
        if self.step % self._interval == 0 or self.step == self.steps:
            self._add_point(rate)

    def _add_point(self, rate: float) -> None:
        point = {name: fmean(self._since_last[name]) for name in _MEANS} | {"learning_rate": rate}
        self._write(point)
        for name, value in {"step": self.step, **point}.items():
            self.history[name].append(value)
        self._since_last = {name: [] for name in _MEANS}

    def _write(self, values: dict[str, float]) -> None:
        with self._writer.as_default(step=self.step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def close(self) -> None:
        """Ends the TensorBoard events."""
        self._writer.close()

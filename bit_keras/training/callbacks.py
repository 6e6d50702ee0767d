"""Keras callbacks of a run: the learning curve, validation during training, and signals."""

import math
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import FrameType

import keras
import numpy as np
import tensorflow as tf

# The learning curve has 100 points: as many as a plot can show, and few enough for a JSON file.
_POINTS = 100

_MEANS = ("loss", "accuracy")

# A function that evaluates a model with a list of callbacks, and returns a dict with the loss
# (nats) and the accuracy (0 to 1).
Score = Callable[[keras.Model, list[keras.callbacks.Callback]], dict[str, float]]


class LearningCurve(keras.callbacks.Callback):
    """A callback that records loss, accuracy and learning rate, also as TensorBoard events.

    The loss and accuracy of a point are the means over the steps since the point before it.

    Args:
        steps: number of steps of the whole run.
        learning_rate: returns the optimizer's learning rate at a given step, counted from 0.
        events: directory of the TensorBoard events; if None, no events are written.
        validated: if True, the model is evaluated on held-out examples during training.

    Attributes:
        step: number of steps done.
        history: a dict of lists of equal length: step, loss (nats), accuracy (0 to 1) and
            learning_rate; if validated, also "validation": a dict of the lists step, loss and
            accuracy.
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
            else tf.summary.create_file_writer(os.fsencode(events))
        )

    def state(self) -> dict:
        """Returns the learning curve so far as a dict that JSON can store and `restore` takes."""
        return {"step": self.step, "history": self.history, "since_last": self._since_last}

    def restore(self, state: dict) -> None:
        """Restores the learning curve from the data that `state` returned."""
        self.step, self.history, self._since_last = (
            state[name] for name in ("step", "history", "since_last")
        )

    def add_validation(self, loss: float, accuracy: float) -> None:
        """Adds the loss and accuracy on the held-out examples to the learning curve."""
        points = self.history["validation"]
        for name, value in {"step": self.step, "loss": loss, "accuracy": accuracy}.items():
            points[name].append(value)
        self._write({"validation_loss": loss, "validation_accuracy": accuracy})

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        # Keras' metrics are reset before each step, so that `logs` describes only the current step.
        self.model.reset_metrics()

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
        """Closes the file of TensorBoard events."""
        self._writer.close()


class Interruption:
    """A context manager that records SIGINT (Ctrl-C) and SIGTERM; the current step can then finish.

    The first signal restores the previous handlers, so a second signal has its usual effect.
    Outside the main thread, Python allows no signal handlers, and signals keep their usual effect.
    """

    def __init__(self):
        self.received: int | None = None
        self._before = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The examples on which a model is evaluated during training, and how often.

    Attributes:
        interval: number of steps from one evaluation to the next.
        num_examples: number of examples.
        score: evaluates the model on the examples.
    """

    interval: int
    num_examples: int
    score: Score


class Validation(keras.callbacks.Callback):
    """Evaluates the model on held-out examples at regular steps and after the last step.

    An evaluation does not change the training: it runs only the forward pass, the metrics are reset
    at each step, and the states of the model's random generators are restored.

    Args:
        held_out: the examples, and the number of steps between evaluations.
        curve: the learning curve, to which the results are added.
        interruption: a signal ends an evaluation without a result; the resumed run repeats it.
        log: is called with a message for each result.
    """

    def __init__(
        self,
        held_out: HeldOut,
        curve: LearningCurve,
        interruption: Interruption,
        log: Callable[[str], None],
    ):
        super().__init__()
        self.held_out, self.curve, self.interruption = held_out, curve, interruption
        self._log = log

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.evaluate_if_due()

    def evaluate_if_due(self) -> None:
        """Evaluates the model if an evaluation is due; adds the result to the learning curve."""
        step = self.curve.step
        is_due = step == self.curve.steps or (step > 0 and step % self.held_out.interval == 0)
        if not is_due or step in self.curve.history["validation"]["step"][-1:]:
            return
        scores = self._score()
        if self.interruption.received is not None:
            return
        self.curve.add_validation(scores["loss"], scores["accuracy"])
        self._log(
            f"\nStep {step}: accuracy {scores['accuracy']:.2%} on {self.held_out.num_examples} "
            "held-out images"
        )

    def _score(self) -> dict[str, float]:
        weights = {id(weight) for weight in self.model.weights}
        generators = [state for state in self.model.variables if id(state) not in weights]
        before = [to_numpy(state) for state in generators]
        scores = self.held_out.score(self.model, [_StopAt(self.interruption)])
        for state, value in zip(generators, before, strict=True):
            state.assign(value)
        return scores


class _StopAt(keras.callbacks.Callback):
    """Stops Keras' `predict` or `evaluate` after a signal such as Ctrl-C."""

    def __init__(self, interruption: Interruption):
        super().__init__()
        self.interruption = interruption

    def on_predict_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.interruption.received is not None:
            self.model.stop_predicting = True

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.interruption.received is not None:
            self.model.stop_evaluating = True


def to_numpy(variable: keras.Variable) -> np.ndarray:
    """Returns a variable's value as a numpy array; all replicas must hold the same value."""
    array = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))
    return array.astype(stored_dtype(variable), copy=False)


def stored_dtype(variable: keras.Variable) -> np.dtype:
    """Returns the dtype in which `to_numpy` returns a variable."""
    # numpy files cannot store bfloat16, so an array of bfloat16 becomes float32, which holds every
    # bfloat16 value exactly.
    dtype = np.dtype(variable.dtype)
    return np.dtype("float32") if dtype.kind == "V" else dtype

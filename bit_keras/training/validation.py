"""Evaluation on held-out training examples while a model trains."""

import dataclasses
from collections.abc import Callable
from functools import cached_property

import keras
import numpy as np

from bit_keras.data import pipeline, subsets
from bit_keras.data.tasks import Examples, Task
from bit_keras.evaluation.accuracy import BATCH_SIZE, Predictions
from bit_keras.training.learning_curve import LearningCurve
from bit_keras.training.resume import Interruption


class Validation(keras.callbacks.Callback):
    """Evaluates the model after every so many steps and after the last.

    Training goes on as if nothing had been evaluated: only the forward pass runs, without
    metrics, and the model's random generators are set back.

    Args:
        task: which the model learns.
        held_out: the examples.
        interval: number of steps.
        curve: the learning curve, which gets the points.
        interruption: ends an evaluation without a point: it is made when the run goes on.
        tell: is given each result in words.
    """

    def __init__(
        self,
        task: Task,
        held_out: Examples,
        interval: int,
        curve: LearningCurve,
        interruption: Interruption,
        tell: Callable[[str], None],
    ):
        super().__init__()
        self.interval, self.curve, self.interruption = interval, curve, interruption
        self._tell = tell
        task = dataclasses.replace(task, test=held_out)
        batches = pipeline.test_batches(task, curve.rule, BATCH_SIZE)
        self._images = batches.map(lambda images, _: images)
        self._held_out = held_out

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.evaluate_if_due()

    def evaluate_if_due(self) -> None:
        """Evaluates, if the curve lacks a point at its step, and adds it."""
        step = self.curve.step
        is_due = step == self.curve.rule.steps or (step > 0 and step % self.interval == 0)
        if not is_due or step in self.curve.history["validation"]["step"][-1:]:
            return
        logits = self._predict()
        if self.interruption.received is not None:
            return
        metrics = Predictions(logits, self._labels).metrics()
        self.curve.add_validation(metrics["test_loss"], metrics["test_accuracy"])
        self._tell(
            f"\nStep {step}: accuracy {metrics['test_accuracy']:.2%} on {len(self._labels)} "
            "held-out images"
        )

    @cached_property
    def _labels(self) -> np.ndarray:
        return subsets.read_labels(self._held_out)

    def _predict(self) -> np.ndarray:
        weights = {id(weight) for weight in self.model.weights}
        generators = [state for state in self.model.variables if id(state) not in weights]
        before = [keras.ops.convert_to_numpy(state.value) for state in generators]
        logits = self.model.predict(self._images, verbose=0, callbacks=[_StopAt(self.interruption)])
        for state, value in zip(generators, before, strict=True):
            state.assign(value)
        return logits


class _StopAt(keras.callbacks.Callback):
    """Ends a prediction at an interruption."""

    def __init__(self, interruption: Interruption):
        super().__init__()
        self.interruption = interruption

    def on_predict_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.interruption.received is not None:
            self.model.stop_predicting = True

"""Evaluation on held-out examples while a model trains."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from bit_keras.training.interruption import Interruption
from bit_keras.training.learning_curve import LearningCurve
from bit_keras.training.resume import to_numpy


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Examples that a model is evaluated on while it trains.

    Attributes:
        interval: number of steps from one evaluation to the next.
        num_examples: how many there are.
        score: from the model and a list of callbacks, which it hands to the model's `predict` or
            `evaluate`, to a dict of loss (nats) and accuracy (0 to 1).
    """

    interval: int
    num_examples: int
    score: Callable[[keras.Model, list[keras.callbacks.Callback]], dict[str, float]]


class Validation(keras.callbacks.Callback):
    """Evaluates the model after every so many steps and after the last.

    Training goes on as if nothing had been evaluated: only the forward pass runs, the metrics
    count each step anew, and the model's random generators are set back.

    Args:
        held_out: the examples, and after how many steps.
        curve: the learning curve, which gets the points.
        interruption: ends an evaluation without a point: it is made when the run goes on.
        tell: is given each result in words.
    """

    def __init__(
        self,
        held_out: HeldOut,
        curve: LearningCurve,
        interruption: Interruption,
        tell: Callable[[str], None],
    ):
        super().__init__()
        self.held_out, self.curve, self.interruption = held_out, curve, interruption
        self._tell = tell

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.evaluate_if_due()

    def evaluate_if_due(self) -> None:
        """Evaluates, if the curve lacks a point at its step, and adds it."""
        step = self.curve.step
        is_due = step == self.curve.steps or (step > 0 and step % self.held_out.interval == 0)
        if not is_due or step in self.curve.history["validation"]["step"][-1:]:
            return
        scores = self._score()
        if self.interruption.received is not None:
            return
        self.curve.add_validation(scores["loss"], scores["accuracy"])
        self._tell(
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
    """Ends a prediction or an evaluation at an interruption."""

    def __init__(self, interruption: Interruption):
        super().__init__()
        self.interruption = interruption

    def on_predict_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.interruption.received is not None:
            self.model.stop_predicting = True

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.interruption.received is not None:
            self.model.stop_evaluating = True

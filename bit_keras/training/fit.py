"""The one loop of all recipes: Keras' fit from the last saved state on, ended by a signal."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import tensorflow as tf

from bit_keras.data.unreadable import naming_unreadable
from bit_keras.training import run_directory, workers
from bit_keras.training.interruption import Interruption
from bit_keras.training.learning_curve import LearningCurve
from bit_keras.training.resume import KEEP, KeepState, newest_kept, restore_newest
from bit_keras.training.validation import HeldOut, Validation


def fit(
    network: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    directory: Path,
    *,
    steps: int,
    learning_rate: Callable[[int], float],
    held_out: HeldOut | None = None,
    save_every: int | None = None,
    keep: int = KEEP,
    progress_bar: bool = False,
    tell: Callable[[str], None],
) -> dict:
    """Trains a compiled network, from the state in its run's directory on if there is one.

    SIGINT and SIGTERM are raised again after the step that they meet, with the state saved.

    With several replicas, each takes its share of a batch. With several workers, all call this with
    the same arguments; the chief alone writes.

    Args:
        network: made and compiled in the scope of its strategy; its metrics are a loss and an
            accuracy.
        batches: the batches from a step, counted from 0, to the last one; a function of the step
            alone, so that a run which goes on sees what it would have seen.
        directory: of the run.
        steps: of the whole run.
        learning_rate: from a step to the rate that the optimizer takes there, for the record.
        held_out: examples to evaluate on while it trains, and how often; None is never.
        save_every: after how many steps to save the state; None is a tenth of the run.
        keep: how many states to keep; at least 1.
        progress_bar: whether to show one.
        tell: is given what is worth saying.

    Returns:
        The `LearningCurve.history` of the whole run.

    Raises:
        FloatingPointError: the training diverged; the states before it stay.
        CheckpointError: the state is of another network.
        ValueError: an image cannot be read; the message names it, and the states stay.
    """
    strategy = network.distribute_strategy
    events = directory / run_directory.EVENTS if workers.is_chief(strategy) else None
    curve = LearningCurve(steps, learning_rate, events, validated=held_out is not None)
    restore_newest(directory, network, curve, tell)
    if curve.step:
        tell(f"Going on after step {curve.step}.")
    with contextlib.closing(curve), Interruption() as interruption:
        callbacks = [curve, KeepState(directory, curve, interruption, save_every, keep)]
        if held_out is not None:
            validation = Validation(held_out, curve, interruption, tell)
            # Before the state is saved, which then holds the point.
            callbacks.insert(1, validation)
            # The step before an interruption may lack its point.
            validation.set_model(network)
            validation.evaluate_if_due()
        if curve.step < steps and interruption.received is None:
            with (
                _naming_newest_state(directory),
                _nothing_to_sum(network),
                naming_unreadable(lambda: batches(curve.step)),
            ):
                network.fit(
                    batches(curve.step),
                    shuffle=False,  # the batches are shuffled
                    callbacks=callbacks,
                    verbose=1 if progress_bar else 0,
                )
    if interruption.received is not None:
        tell(f"\nStopped after step {curve.step}: the same call goes on from there.")
        signal.raise_signal(interruption.received)
    return curve.history


@contextlib.contextmanager
def _naming_newest_state(directory: Path) -> Iterator[None]:
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(f"{error} {newest_kept(directory)}") from error


@contextlib.contextmanager
def _nothing_to_sum(network: keras.Model) -> Iterator[None]:
    """Has the optimizer not sum the gradients over replicas where there is only one.

    Keras does it with a custom gradient, which TensorFlow registers for the life of the process,
    and by it the graph of the training step with all weights: so each run in a process would leave
    its memory behind.
    """
    if network.distribute_strategy.num_replicas_in_sync > 1:
        yield
        return
    # Under mixed_float16 Keras wraps the optimizer that updates the weights.
    attributes = vars(getattr(network.optimizer, "inner_optimizer", network.optimizer))
    attributes["_all_reduce_sum_gradients"] = lambda grads_and_vars: grads_and_vars
    try:
        yield
    finally:
        del attributes["_all_reduce_sum_gradients"]

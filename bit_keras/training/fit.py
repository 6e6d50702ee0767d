"""The training loop: Keras' `fit` with callbacks that save states, and resuming from a state."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import tensorflow as tf

from bit_keras.data.corrupt_images import naming_unreadable
from bit_keras.distribution.replicas import updating
from bit_keras.runs import run_directory
from bit_keras.training import workers
from bit_keras.training.callbacks import HeldOut, Interruption, LearningCurve, Validation
from bit_keras.training.progress import ShownProgress
from bit_keras.training.saved_state import KeepState, newest_kept, restore_newest
from bit_keras.utils.keras_internals import gradients_not_summed


def fit(
    network: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    directory: Path,
    *,
    steps: int,
    learning_rate: Callable[[int], float],
    held_out: HeldOut | None,
    save_every: int | None,
    keep: int,
    show_progress: bool,
    log: Callable[[str], None],
) -> dict:
    """Trains a compiled network; starts from the newest saved state in the run's directory, if any.

    When SIGINT or SIGTERM arrives, the current step is finished, the state is saved, and the signal
    is raised again.

    With several replicas, each replica trains on its share of a batch. With several workers, all
    workers call this function with the same arguments, and only the chief writes files.

    Args:
        network: the network, made and compiled in the scope of its strategy; its metrics are a
            loss and an accuracy.
        batches: returns the batches from a given step, counted from 0, to the last step. They must
            depend on the step alone, so that a resumed run gets the batches that it would have had.
        directory: the run's directory.
        steps: number of steps of the whole run.
        learning_rate: returns the optimizer's learning rate at a given step, for the learning
            curve.
        held_out: examples to evaluate on during training, and how often; None means never.
        save_every: number of steps from one saved state to the next; None means a tenth of the run.
        keep: number of states to keep; at least 1.
        show_progress: if True, show a progress bar, or lines where there is no terminal.
        log: is called with each message.

    Returns:
        The `LearningCurve.history` of the whole run.

    Raises:
        FloatingPointError: the training diverged; the states saved before stay.
        CheckpointError: the state belongs to another network.
        ValueError: an image cannot be read; the message names it, and the saved states stay.
    """
    strategy = network.distribute_strategy
    events = directory / run_directory.EVENTS if workers.is_chief(strategy) else None
    curve = LearningCurve(steps, learning_rate, events, validated=held_out is not None)
    restore_newest(directory, network, curve, log)
    if curve.step:
        log(f"Going on after step {curve.step}.")
    with contextlib.closing(curve), Interruption() as interruption:
        callbacks = [curve, KeepState(directory, curve, interruption, save_every, keep)]
        if held_out is not None:
            validation = Validation(held_out, curve, interruption, log)
            # Validation runs before KeepState, so that the saved state contains the result of the
            # validation.
            callbacks.insert(1, validation)
            # If a signal stopped the evaluation that follows the restored step, this evaluation
            # runs now.
            validation.set_model(network)
            validation.evaluate_if_due()
        if curve.step < steps and interruption.received is None:
            progress = ShownProgress(curve) if show_progress else contextlib.nullcontext()
            if show_progress:
                callbacks.insert(1, progress)
            with (
                progress,
                _naming_newest_state(directory),
                _nothing_to_sum(network),
                naming_unreadable(lambda: batches(curve.step)),
            ):
                network.fit(
                    batches(curve.step),
                    # Keras must not shuffle the batches, because the pipeline has already shuffled
                    # the images.
                    shuffle=False,
                    callbacks=callbacks,
                    verbose=0,
                )
    if interruption.received is not None:
        log(f"\nStopped after step {curve.step}: the same call goes on from there.")
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
    """Stops the optimizer from summing gradients over replicas if there is only one replica.

    Keras sums them with a custom gradient. TensorFlow keeps that gradient, and with it the graph of
    the training step and all weights, until the process ends, so each run would leak its memory.
    """
    if network.distribute_strategy.num_replicas_in_sync > 1:
        yield
        return
    with gradients_not_summed(updating(network.optimizer)):
        yield

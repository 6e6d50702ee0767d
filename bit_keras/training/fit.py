"""Keras' fit by a HyperRule: from the last saved state on, and ended in peace by a signal."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import keras

from bit_keras.data import pipeline
from bit_keras.data.tasks import Examples, Task
from bit_keras.hyperrule import HyperRule
from bit_keras.training import run_directory
from bit_keras.training.learning_curve import LearningCurve
from bit_keras.training.resume import Interruption, KeepState, restore_state
from bit_keras.training.validation import Validation


def fit(
    network: keras.Model,
    task: Task,
    rule: HyperRule,
    seed: int,
    directory: Path,
    *,
    held_out: Examples | None = None,
    eval_every: int | None = None,
    progress_bar: bool = False,
    tell: Callable[[str], None],
) -> dict:
    """Compiles a network and trains it, from the state in its run's directory on if there is one.

    SIGINT and SIGTERM are raised again after the step that they meet, with the state saved.

    Args:
        network: gives logits.
        task: whose training examples are taken.
        rule: by which it trains.
        seed: of the data.
        directory: of the run.
        held_out: examples to evaluate on while it trains.
        eval_every: after how many steps; None is never.
        progress_bar: whether to show one.
        tell: is given what is worth saying.

    Returns:
        The `LearningCurve.history` of the whole run.

    Raises:
        FloatingPointError: the training diverged.
        CheckpointError: the state is damaged, or of another network.
    """
    network.compile(
        optimizer=keras.optimizers.SGD(rule.schedule(), momentum=rule.momentum),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    curve = LearningCurve(rule, directory / run_directory.EVENTS, eval_every is not None)
    state = directory / run_directory.STATE
    restore_state(state, network, curve)
    if curve.step:
        tell(f"Going on after step {curve.step}.")
    with contextlib.closing(curve), Interruption() as interruption:
        callbacks = [curve, KeepState(state, curve, interruption)]
        if eval_every is not None:
            validation = Validation(task, held_out, eval_every, curve, interruption, tell)
            # Before the state is saved, which then holds the point.
            callbacks.insert(1, validation)
            # The step before an interruption may lack its point.
            validation.set_model(network)
            validation.evaluate_if_due()
        if curve.step < rule.steps and interruption.received is None:
            with _nothing_to_sum(network):
                network.fit(
                    pipeline.train_batches(task, rule, seed, start_step=curve.step),
                    shuffle=False,  # the pipeline shuffles
                    callbacks=callbacks,
                    verbose=1 if progress_bar else 0,
                )
    if interruption.received is not None:
        tell(f"\nStopped after step {curve.step}: the same call goes on from there.")
        signal.raise_signal(interruption.received)
    return curve.history


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

"""Coordinates the workers (processes) of a run; the first of them, the chief, writes the files.

A run puts all joint work into `with naming_lost_workers(strategy), claimed(strategy, ...):`.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf

from bit_keras.runs import run_directory

# TensorFlow's collective operations raise these errors when another worker has ended or restarted.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.FailedPreconditionError,
    tf.errors.DeadlineExceededError,
)


def are_several(strategy: tf.distribute.Strategy) -> bool:
    """Returns True if several workers (processes) train in the same run."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns True if this process writes the run's files; True for a run of a single process."""
    return strategy.extended.should_checkpoint


def broadcast_from_chief(strategy: tf.distribute.Strategy, number: int) -> int:
    """Sends a number from the chief to all workers; waits until all have called this function."""
    if not are_several(strategy):
        return number
    with strategy.scope():
        # The number is sent as the initial value of a variable: TensorFlow gives a new variable the
        # chief's initial value on all workers.
        return int(tf.Variable(number, dtype=tf.int64, trainable=False).numpy())


@contextlib.contextmanager
def claimed(
    strategy: tf.distribute.Strategy,
    directory: Path,
    configuration: dict,
    overwrite: bool,
    class_names: Sequence[str] | None = None,
) -> Iterator[dict | None]:
    """Lets the chief create or check the run's directory, and lock it until the block ends.

    The arguments after the strategy are those of `run_directory.claim`.

    Yields:
        The metrics of the same run if it is finished, else None.

    Raises:
        BlockingIOError: another process is training in the directory.
        ValueError, OSError: the chief could not claim the directory, or this worker does not find
            the chief's files there.
    """
    with contextlib.ExitStack() as lock:
        finished = refusal = None
        if is_chief(strategy):
            try:
                run_directory.check_writable(directory)
                lock.enter_context(run_directory.held(directory))
                finished = run_directory.claim(directory, configuration, overwrite, class_names)
            except (ValueError, OSError) as error:
                refusal = error
        answer = broadcast_from_chief(strategy, -1 if refusal else int(finished is not None))
        if refusal is not None:
            raise refusal
        if answer < 0:
            raise ValueError(f"The chief does not start in {directory}; the chief has printed why.")
        if not (directory / run_directory.CONFIG).exists():
            raise FileNotFoundError(
                f"{directory / run_directory.CONFIG}, which the chief has written, is not seen by "
                "this worker. Give all workers an output_dir that they share."
            )
        if answer and finished is None:
            finished = run_directory.read_json(directory / run_directory.METRICS)
        yield finished


@contextlib.contextmanager
def naming_lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Replaces TensorFlow's error by a clear ConnectionError if another worker has died or stopped.

    Raises:
        ConnectionError: the block failed because another worker has died or stopped.
    """
    try:
        yield
    except _LOST as error:
        if not are_several(strategy):
            raise
        raise ConnectionError(
            "Another worker has died, or has given up for a reason of its own that it has printed. "
            "Start the same command on all workers again: it goes on after the last state that was "
            f"saved. (TensorFlow: {type(error).__name__})"
        ) from error

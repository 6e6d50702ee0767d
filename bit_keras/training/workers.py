"""Several workers at one run: the chief writes, the others follow what it says.

With `with naming_lost_workers(strategy):` around all that a run does together, and `claim` in it.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from bit_keras.training import run_directory, run_lock

# What a collective operation ends with when its peer is gone, or has been started again.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.FailedPreconditionError,
    tf.errors.DeadlineExceededError,
)

# What this process has claimed, until the block of `naming_lost_workers` ends.
_claimed = contextlib.ExitStack()


def are_several(strategy: tf.distribute.Strategy) -> bool:
    """Tells whether other processes train too."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Tells whether this process is the one that writes; one that is alone is."""
    return strategy.extended.should_checkpoint


def told_by_chief(strategy: tf.distribute.Strategy, number: int) -> int:
    """Returns the chief's number, in all workers, when all of them have called this."""
    if not are_several(strategy):
        return number
    with strategy.scope():
        # A new variable has the chief's initial value everywhere.
        return int(tf.Variable(number, dtype=tf.int64, trainable=False).numpy())


def claim(
    strategy: tf.distribute.Strategy, directory: Path, configuration: dict, overwrite: bool
) -> dict | None:
    """Has the chief do `run_directory.claim` for all workers; they return the same.

    The chief keeps other processes out of the directory, until the `naming_lost_workers` block that
    this is called in ends.

    Raises:
        BlockingIOError: another process is training there.
        ValueError, OSError: the chief's claim does, or this worker sees another directory.
    """
    finished = refusal = None
    if is_chief(strategy):
        try:
            run_directory.check_writable(directory)
            _claimed.enter_context(run_lock.held(directory))
            finished = run_directory.claim(directory, configuration, overwrite)
        except (ValueError, OSError) as error:
            refusal = error
    answer = told_by_chief(strategy, -1 if refusal else int(finished is not None))
    if refusal is not None:
        raise refusal
    if answer < 0:
        raise ValueError(f"The chief does not start in {directory}; it has printed why.")
    if not (directory / run_directory.CONFIG).exists():
        raise FileNotFoundError(
            f"{directory / run_directory.CONFIG}, which the chief has written, is not seen by this "
            "worker. Give all workers an output_dir that they share."
        )
    if answer and finished is None:
        finished = run_directory.read_json(directory / run_directory.METRICS)
    return finished


@contextlib.contextmanager
def naming_lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Says in plain words that another worker is gone, where TensorFlow speaks of its sockets.

    When the block ends, however it ends, what was claimed in it is given back.

    Raises:
        ConnectionError: the block failed since another worker has died or has given up.
    """
    try:
        with _claimed:
            yield
    except _LOST as error:
        if not are_several(strategy):
            raise
        raise ConnectionError(
            "Another worker has died, or has given up for a reason of its own that it has printed. "
            "Start the same command on all workers again: it goes on after the last state that was "
            f"saved. (TensorFlow: {type(error).__name__})"
        ) from error

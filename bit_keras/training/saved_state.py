"""Saves a run's training state to a file, and restores it so that the run can continue.

A state holds all variables of the model and of its optimizer, and the learning curve so far. The
training data depend only on the seed and the step (`data/pipeline.py`), so a run that was
interrupted or killed ends with the same weights as a run that was not. The newest few states are
kept: if the newest is damaged, the run continues from the one before it.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from bit_keras.checkpoints.archive import Archive, write_archive
from bit_keras.checkpoints.errors import CheckpointError
from bit_keras.distribution.replicas import updating
from bit_keras.runs import run_directory
from bit_keras.training import workers
from bit_keras.training.callbacks import Interruption, LearningCurve, to_numpy
from bit_keras.training.options import KEEP
from bit_keras.training.state_checks import (
    check_arrays,
    check_like_variables,
    is_format,
    read_progress,
)
from bit_keras.utils.atomic_file import sync_entries

# By default, a run saves its training state 10 times. A killed run then loses at most a tenth of
# its steps, and saving takes little time.
_SAVES = 10

# In a state file, the array of this name holds the current step and the learning curve as JSON.
_PROGRESS = "progress"

# In a state file, the array of this name holds two integers: the version of the file format, and 1
# if the velocity of the SGD contains the learning rate, else 0. Files of version 1 do not have the
# array, and their velocity contains the learning rate. An earlier version of bit_keras refuses a
# file with this array.
_FORMAT = "format"
_VERSION = 2


class KeepState(keras.callbacks.Callback):
    """Saves the training state at regular steps; after a signal, saves it and stops the training.

    With several workers, only the chief saves the state.

    Args:
        directory: the run's directory.
        curve: the learning curve, which is part of the state.
        interruption: records the signals that the process receives.
        save_every: number of steps from one save to the next; None means a tenth of the run.
        keep: number of states to keep; at least 1.
    """

    def __init__(
        self,
        directory: Path,
        curve: LearningCurve,
        interruption: Interruption,
        save_every: int | None,
        keep: int,
    ):
        super().__init__()
        self.directory, self.curve, self.interruption = directory, curve, interruption
        self.interval = save_every or max(1, curve.steps // _SAVES)
        self.keep = keep

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        interrupted = self.interruption.received is not None
        due = interrupted or self.curve.step % self.interval == 0
        if due and workers.is_chief(self.model.distribute_strategy):
            save_state(self.directory, self.model, self.curve, self.keep)
        if interrupted:
            self.model.stop_training = True


def save_state(directory: Path, model: keras.Model, curve: LearningCurve, keep: int = KEEP) -> None:
    """Writes the training state of a compiled model atomically; removes all but the newest states.

    Raises:
        FloatingPointError: a weight is not finite; the earlier states stay.
        OSError: the state cannot be written; the earlier states stay.
    """
    path = run_directory.state(directory, curve.step)
    rate_in_velocity = getattr(updating(model.optimizer), "rate_in_velocity", False)
    described = [
        (_FORMAT, np.array([_VERSION, rate_in_velocity], "int64")),
        (_PROGRESS, np.frombuffer(json.dumps(curve.state()).encode(), "uint8")),
    ]
    with naming_newest(directory, f"saving {path}"):
        write_archive(path, [*described, *_finite_arrays(model, curve.step)])
    sync_entries(directory)
    for old in run_directory.states(directory)[:-keep]:
        old.unlink()


def restore_newest(
    directory: Path, model: keras.Model, curve: LearningCurve, log: Callable[[str], None]
) -> None:
    """Restores a model and its learning curve from the newest undamaged saved state, if any.

    Damaged state files are renamed. With several workers, all restore the state that the chief
    chooses. The model must not have been trained since it was compiled, because a state of an
    earlier version changes the formula of the optimizer, which is traced at the first step.

    Raises:
        CheckpointError: the state belongs to another model, or a later version of bit_keras wrote
            it; nothing is changed.
        FileNotFoundError: a worker does not find the chief's state file.
    """
    strategy = model.distribute_strategy
    newest = _newest_whole(directory, curve, log) if workers.is_chief(strategy) else None
    step = workers.broadcast_from_chief(strategy, -1 if newest is None else newest[0])
    if step < 0:
        return
    path = run_directory.state(directory, step)
    if newest is None:
        if not path.exists():
            raise FileNotFoundError(
                f"{path}, the state from which the chief goes on, is not seen by this worker. "
                "Give all workers an output_dir that they share."
            )
        newest = step, _read(path, curve)
    _assign(path, newest[1], model, curve)
    if getattr(updating(model.optimizer), "rate_in_velocity", False):
        log(
            "This run began with an earlier version of bit_keras, whose SGD kept the learning rate "
            "inside of the velocity. It is finished in the same way."
        )


def _newest_whole(
    directory: Path, curve: LearningCurve, log: Callable[[str], None]
) -> tuple[int, dict] | None:
    for path in reversed(run_directory.states(directory)):
        try:
            return run_directory.step_of(path), _read(path, curve)
        except CheckpointError as error:
            aside = run_directory.set_aside(path)
            log(f"A saved state is damaged and was renamed to {aside.name}: {error}")
    return None


def _read(path: Path, curve: LearningCurve) -> dict:
    """Reads a state file: values of the variables by name, file format, step and learning curve."""
    # State files are written without compression. A compressed member is refused, because a small
    # file could unpack to gigabytes.
    with Archive(path, compressed=False) as archive:
        state = {name: archive.read(name) for name in archive.members}
    written_format = state.pop(_FORMAT, np.array([1, True]))
    encoded = state.pop(_PROGRESS, None)
    check_arrays(path, state)
    if encoded is not None:
        state[_PROGRESS] = read_progress(path, encoded, curve.state(), curve.steps)
    return state | {_FORMAT: written_format}


def _assign(path: Path, state: dict, model: keras.Model, curve: LearningCurve) -> None:
    variables = _variables(model)
    written_format, progress = state.pop(_FORMAT), state.pop(_PROGRESS, None)
    if not is_format(written_format, _VERSION):
        raise CheckpointError(
            f"{path} is a state in format {written_format.tolist()}, perhaps of a later version of "
            f"bit_keras; this version reads formats 1 to {_VERSION}. Go on with the version that "
            "wrote it, or start anew with overwrite."
        )
    if progress is None:
        raise CheckpointError(
            f"{path} has no array {_PROGRESS!r}, so it is not the state of a run."
        )
    check_like_variables(path, state, variables)
    curve.restore(progress)
    optimizer = updating(model.optimizer)
    if hasattr(optimizer, "rate_in_velocity"):
        optimizer.rate_in_velocity = bool(written_format[1])
    for name, variable in variables.items():
        variable.assign(state.pop(name))


@contextlib.contextmanager
def naming_newest(directory: Path, action: str) -> Iterator[None]:
    """Adds to the operating system's error what failed, and what the newest saved state is.

    Args:
        directory: the run's directory.
        action: what the block does, such as "saving model.keras".
    """
    try:
        yield
    except OSError as error:
        raise type(error)(
            error.errno,
            f"{error.strerror}, while {action}. {newest_kept(directory)} The same call goes on "
            "from there.",
        ) from error


def newest_kept(directory: Path) -> str:
    """Returns a sentence that names the newest saved state, for an error message."""
    kept = run_directory.states(directory)
    return f"The last good state is {kept[-1]}." if kept else "No state had been saved before."


def _finite_arrays(model: keras.Model, step: int) -> Iterator[tuple[str, np.ndarray]]:
    for name, variable in _variables(model).items():
        array = to_numpy(variable)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise FloatingPointError(
                f"{variable.path} is not finite after step {step}: training diverged. Lower "
                "base_lr, or look for broken weights or images."
            )
        yield name, array


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    # An optimizer that is built already is not built again, because a LossScaleOptimizer would then
    # create its variables twice.
    if not model.optimizer.built:
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
    named = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {f"{owner}/{i}": v for owner, list_ in named.items() for i, v in enumerate(list_)}

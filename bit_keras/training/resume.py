"""A run's state at a step, from which it goes on as if it had never stopped.

The state is that of all variables of the model and its optimizer and the learning curve so far; the
data are a function of seed and step (`data/pipeline.py`). So a run that was interrupted, or killed,
ends with the weights of one that was left alone. The newest few states are kept, so that a damaged
one costs the steps since the one before it and not the run.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from bit_keras.atomic_file import sync_entries
from bit_keras.checkpoints.archive import Archive, write_archive
from bit_keras.checkpoints.error import CheckpointError
from bit_keras.training import run_directory, workers
from bit_keras.training.interruption import Interruption
from bit_keras.training.learning_curve import LearningCurve

# A kill costs at most a tenth of a run, and saving next to nothing of its time.
_SAVES = 10

# The newest, and one that was read back from no disk that has since failed.
KEEP = 2

_PROGRESS = "progress"  # step and learning curve, as JSON bytes


class KeepState(keras.callbacks.Callback):
    """Saves the state now and then, and at an interruption, at which it ends the training.

    With several workers only the chief saves.

    Args:
        directory: of the run.
        curve: the learning curve, which is part of the state.
        interruption: where signals are noted.
        save_every: number of steps; None is a tenth of the run.
        keep: how many states to keep; at least 1.
    """

    def __init__(
        self,
        directory: Path,
        curve: LearningCurve,
        interruption: Interruption,
        save_every: int | None = None,
        keep: int = KEEP,
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
    """Writes the state of a compiled model, whole or not at all, and removes the oldest.

    Raises:
        FloatingPointError: a weight is not finite.
        OSError: it cannot be written. In both cases the states that were there stay.
    """
    path = run_directory.state(directory, curve.step)
    progress = np.frombuffer(json.dumps(curve.state()).encode(), "uint8")
    try:
        write_archive(path, [(_PROGRESS, progress), *_finite_arrays(model, curve.step)])
    except OSError as error:
        raise type(error)(
            error.errno,
            f"{error.strerror}, while saving {path}. {newest_kept(directory)} The same call goes "
            "on from there.",
        ) from error
    sync_entries(directory)
    for old in run_directory.states(directory)[:-keep]:
        old.unlink()


def restore_newest(
    directory: Path, model: keras.Model, curve: LearningCurve, tell: Callable[[str], None]
) -> None:
    """Sets a compiled model and its learning curve to the newest state that is whole, if any.

    Damaged ones are set aside. With several workers, all take the state that the chief takes.

    Raises:
        CheckpointError: the state is of another model; nothing is changed.
        FileNotFoundError: a worker does not see the chief's state.
    """
    strategy = model.distribute_strategy
    newest = _newest_whole(directory, tell) if workers.is_chief(strategy) else None
    step = workers.told_by_chief(strategy, -1 if newest is None else newest[0])
    if step < 0:
        return
    path = run_directory.state(directory, step)
    if newest is None:
        if not path.exists():
            raise FileNotFoundError(
                f"{path}, the state from which the chief goes on, is not seen by this worker. "
                "Give all workers an output_dir that they share."
            )
        newest = step, _read(path)
    _assign(path, newest[1], model, curve)


def _newest_whole(directory: Path, tell: Callable[[str], None]) -> tuple[int, dict] | None:
    for path in reversed(run_directory.states(directory)):
        try:
            return run_directory.step_of(path), _read(path)
        except CheckpointError as error:
            aside = run_directory.set_aside(path)
            tell(f"A state is damaged and was set aside as {aside.name}: {error}")
    return None


def _read(path: Path) -> dict[str, np.ndarray]:
    with Archive(path) as archive:
        return {name: archive.read(name) for name in archive.members}


def _assign(
    path: Path, arrays: dict[str, np.ndarray], model: keras.Model, curve: LearningCurve
) -> None:
    variables = _variables(model)
    progress = arrays.pop(_PROGRESS, None)
    shapes = {name: array.shape for name, array in arrays.items()}
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    if progress is None or shapes != expected:
        raise CheckpointError(
            f"{path} is not a state of this model. Remove it, or start anew with overwrite."
        )
    curve.restore(json.loads(progress.tobytes()))
    for name, variable in variables.items():
        variable.assign(arrays.pop(name))


def newest_kept(directory: Path) -> str:
    """Says which state a failure leaves."""
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
    if not model.optimizer.built:  # A LossScaleOptimizer would make its variables once more.
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
    named = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {f"{owner}/{i}": v for owner, list_ in named.items() for i, v in enumerate(list_)}


def to_numpy(variable: keras.Variable) -> np.ndarray:
    """Returns a variable's value; of several replicas, the one that they share."""
    array = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))
    # numpy files know no bfloat16; float32 holds each of its values.
    return array.astype("float32") if array.dtype.kind == "V" else array

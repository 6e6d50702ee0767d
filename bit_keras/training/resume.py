"""A run's state at a step, from which it goes on as if it had never stopped.

The state is that of all variables of the model and its optimizer and the learning curve so far; the
data are a function of seed and step (`data/pipeline.py`). So a run that was interrupted, or killed,
ends with the weights of one that was left alone.
"""

import json
import signal
import threading
from pathlib import Path
from types import FrameType

import keras
import numpy as np

from bit_keras.checkpoints.archive import Archive, write_archive
from bit_keras.checkpoints.error import CheckpointError
from bit_keras.training.learning_curve import LearningCurve

# A kill costs at most a tenth of a run, and saving next to nothing of its time.
_SAVES = 10

_PROGRESS = "progress"  # step and learning curve, as JSON bytes


class Interruption:
    """Notes SIGINT (Ctrl-C) and SIGTERM while it is entered, for a step to end in peace.

    A second signal of the kind does what it always did. Outside of the main thread, where Python
    allows no handlers, signals stay as they are.
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


class KeepState(keras.callbacks.Callback):
    """Saves the state now and then, and at an interruption, at which it ends the training.

    Args:
        path: of the state.
        curve: the learning curve, which is part of it.
        interruption: where signals are noted.
    """

    def __init__(self, path: Path, curve: LearningCurve, interruption: Interruption):
        super().__init__()
        self.path, self.curve, self.interruption = path, curve, interruption
        self.interval = max(1, curve.rule.steps // _SAVES)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        interrupted = self.interruption.received is not None
        if interrupted or self.curve.step % self.interval == 0:
            save_state(self.path, self.model, self.curve)
        if interrupted:
            self.model.stop_training = True


def save_state(path: Path, model: keras.Model, curve: LearningCurve) -> None:
    """Writes the state of a compiled model, whole or not at all."""
    progress = np.frombuffer(json.dumps(curve.state()).encode(), "uint8")
    arrays = ((name, _to_numpy(variable)) for name, variable in _variables(model).items())
    write_archive(path, [(_PROGRESS, progress), *arrays])


def restore_state(path: Path, model: keras.Model, curve: LearningCurve) -> None:
    """Sets a compiled model and its learning curve to a saved state, if there is one.

    Raises:
        CheckpointError: the state is damaged, or of another model; nothing is changed.
    """
    if not path.exists():
        return
    variables = _variables(model)
    with Archive(path) as archive:
        shapes = {name: member.shape for name, member in archive.members.items()}
        progress = shapes.pop(_PROGRESS, None)
        expected = {name: tuple(variable.shape) for name, variable in variables.items()}
        if progress is None or shapes != expected:
            raise CheckpointError(
                f"{path} is not a state of this model. Remove it, or start anew with overwrite."
            )
        arrays = {name: archive.read(name) for name in shapes}
        curve.restore(json.loads(archive.read(_PROGRESS).tobytes()))
    for name, variable in variables.items():
        variable.assign(arrays.pop(name))


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    model.optimizer.build(model.trainable_variables)
    named = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {f"{owner}/{i}": v for owner, list_ in named.items() for i, v in enumerate(list_)}


def _to_numpy(variable: keras.Variable) -> np.ndarray:
    array = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))
    # numpy files know no bfloat16; float32 holds each of its values.
    return array.astype("float32") if array.dtype.kind == "V" else array

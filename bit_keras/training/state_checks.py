"""Checks a saved training state before anything of it is used.

A state that was damaged or changed by hand could continue a run from a wrong step, or with weights
that are not finite, and nothing later would show it.
"""

import json
import math
from numbers import Real
from pathlib import Path

import keras
import numpy as np

from bit_keras.checkpoints.errors import CheckpointError
from bit_keras.runs import run_directory
from bit_keras.training.callbacks import stored_dtype
from bit_keras.utils.integers import is_integer


def check_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Raises a CheckpointError for NaN, infinity or a negative integer in a saved state.

    Args:
        path: path of the state file, for messages.
        arrays: the values of the variables. Floats are finite; integers count something.
    """
    for name, array in arrays.items():
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            raise CheckpointError(
                f"{path}: {name!r} holds NaN or infinity; expected finite values."
            )
        if array.dtype.kind == "i" and array.size and array.min() < 0:
            raise CheckpointError(f"{path}: {name!r} holds {array.min()}; expected counts from 0.")


def is_format(array: np.ndarray, newest: int) -> bool:
    """Returns True if an array is the format of a state that can be read.

    Args:
        array: two integers: the version of the format, and 0 or 1.
        newest: the newest version that can be read.
    """
    if array.shape != (2,) or array.dtype.kind not in "iu":
        return False
    version, rate_in_velocity = array.tolist()
    return 1 <= version <= newest and rate_in_velocity in (0, 1)


def check_like_variables(
    path: Path, arrays: dict[str, np.ndarray], variables: dict[str, keras.Variable]
) -> None:
    """Checks that a saved state fits the variables of a model, before any of them is assigned.

    Raises:
        CheckpointError: a value is missing or unknown, has another shape or dtype, or is too large
            for the dtype of its variable.
    """
    problem = None
    if arrays.keys() != variables.keys():
        problem = f"it has {len(arrays)} arrays; expected {len(variables)}"
    for name, variable in {} if problem else variables.items():
        array, shape, dtype = arrays[name], tuple(variable.shape), stored_dtype(variable)
        if (array.shape, array.dtype) != (shape, dtype):
            problem = (
                f"{name!r} is {array.dtype} of shape {array.shape}; expected {dtype} of shape "
                f"{shape}"
            )
        elif dtype != np.dtype(variable.dtype):
            # A float32 value may be too large for bfloat16.
            with np.errstate(over="ignore"):
                cast = array.astype(variable.dtype).astype(dtype)
            if not np.isfinite(cast).all():
                problem = f"{name!r} holds a value that is too large for {variable.dtype}"
        if problem:
            break
    if problem:
        raise CheckpointError(
            f"{path} is not a state of this model: {problem}. Remove it, or start anew with "
            "overwrite."
        )


def read_progress(path: Path, encoded: np.ndarray, like: dict, steps: int) -> dict:
    """Decodes the JSON text of a saved state: returns its step and its learning curve, checked.

    Args:
        path: path of the state file, which names its step.
        encoded: the bytes of the JSON text.
        like: the `state()` of the run's `LearningCurve`, whose entries the state must have.
        steps: the number of steps of the whole run.

    Raises:
        CheckpointError: the text is damaged or does not belong to this step and this run.
    """
    try:
        progress = json.loads(encoded.tobytes())
    # `json.loads` raises a RecursionError for JSON that is nested too deep.
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its array 'progress' is no JSON text ({error}).") from error
    _check_like(path, progress, like)
    step, expected = progress["step"], run_directory.step_of(path)
    if not is_integer(step) or step != expected or not 0 <= step <= steps:
        raise CheckpointError(
            f"{path}: its progress is at step {step!r}; expected {expected}, as the file's name "
            f"says, and a step from 0 to {steps}."
        )
    history = progress["history"]
    for points in (history, history.get("validation", {"step": []})):
        if points["step"] != sorted(points["step"]) or not all(
            0 <= x <= step for x in points["step"]
        ):
            raise CheckpointError(
                f"{path}: the steps of its learning curve are not in order from 0 to {step}."
            )
    return progress


def _check_like(path: Path, found: object, like: object, name: str = "progress") -> None:
    """Raises a CheckpointError unless `found` has the structure of the valid data `like`."""
    problem = None
    if isinstance(like, dict):
        if not isinstance(found, dict) or found.keys() != like.keys():
            problem = f"the entries {', '.join(like)}"
        else:
            for key in like:
                _check_like(path, found[key], like[key], key)
            lists = {key: len(value) for key, value in found.items() if isinstance(value, list)}
            problem = "lists of one length" if len(set(lists.values())) > 1 else None
    elif isinstance(like, list):
        is_valid = isinstance(found, list) and all(map(_is_finite, found))
        problem = None if is_valid else "a list of finite numbers"
    elif not _is_finite(found):
        problem = "a number"
    if problem:
        raise CheckpointError(f"{path}: {name!r} of its progress is damaged; expected {problem}.")


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)

"""Checks that an exported file gives the same outputs as the model that it was made from."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from bit_keras.exporters.child_process import ChildProcess
from bit_keras.exporters.engines import OUTPUT, functions_in, load_functions
from bit_keras.exporters.outputs import outputs_of, to_range
from bit_keras.utils.keras_internals import all_layers

# The largest allowed difference between the outputs of a float32 export and its model, divided by
# the largest output.
FLOAT32_BOUND = 1e-5

# The allowed difference is larger in half precision than in float32, because TensorFlow's graph
# optimizer changes where results are rounded.
_HALF_BOUND = 5e-2

# Batch size, height and width of the test images, if the model takes images of any size. The height
# and width of the second batch are odd, so that no stride of the network divides them.
_SHAPES = ((1, 224, 224), (5, 97, 131))


@dataclass(frozen=True)
class Agreement:
    """The measured agreement of an exported file with its model on random images.

    Attributes:
        error: the largest difference between the outputs, over the model's largest value; the
            maximum over the test images' sizes and over the functions of the file.
        bound: the largest allowed error.
        same_class: the number of images whose largest output has the same index in both.
        images: the number of images compared.
    """

    error: float
    bound: float
    same_class: int
    images: int

    def __str__(self) -> str:
        return (
            f"error {self.error:.1e} of the largest value (bound {self.bound:.0e}), the same top "
            f"class for {self.same_class} of {self.images} random images"
        )


def check_export(
    model: keras.Model,
    path: str | os.PathLike,
    input_range: tuple[float, float] = (0, 1),
    bound: float = FLOAT32_BOUND,
    shapes: tuple[tuple[int, int, int], ...] = _SHAPES,
    model_range: tuple[float, float] | None = None,
    process: ChildProcess | None = None,
) -> Agreement:
    """Loads an exported file and compares it with its model on random images.

    Every function of the file is compared: of a SavedModel the callable root and the signatures
    "serving_default" and "features"; of another file its only function.

    Args:
        model: the functional model that was exported.
        path: a SavedModel's directory, or a file that an engine of `bit-keras time` runs.
        input_range: the values of black and white in the images that the file takes.
        bound: the largest allowed difference, over the model's largest value. A model with layers
            in half precision is allowed 0.05.
        shapes: batch size, height and width of the test images. A fixed input size of the model
            replaces the height and width.
        model_range: the values of black and white in the images that the model itself takes. None
            means (-1, 1), or what the model's own layers scale to [-1, 1].
        process: the process that loads and runs the file; None is this process.

    Returns:
        The largest relative error and the number of images with the same top class.

    Raises:
        RuntimeError: the file gives other numbers than the model.
        OSError: there is no file at `path`.
        ValueError: the file cannot be read, or the model gives NaN or infinity.
    """
    bound = max(bound, _HALF_BOUND) if has_half_precision(model) else bound
    functions = load_functions(path) if process is None else functions_in(process, path)
    reference = _reference(model, model_range)
    rng = np.random.default_rng(0)
    errors, same, count = [], 0, 0
    for batch, *free in shapes:
        size = [fixed or side for fixed, side in zip(model.input_shape[1:3], free, strict=True)]
        images = rng.uniform(*input_range, (batch, *size, 3)).astype("float32")
        output, features = reference(to_range(images, input_range))
        for name, function in functions.items():
            value, expected = function(images), features if name == "features" else output
            errors.append(_error(model, value, expected))
            if name == OUTPUT:
                same += int((value.argmax(-1) == expected.argmax(-1)).sum())
                count += expected[..., 0].size
    # np.max is used because it returns NaN if any error is NaN, while Python's max may not.
    agreement = Agreement(float(np.max(errors)), bound, same, count)
    if not agreement.error <= bound:
        raise RuntimeError(
            f"The export of {model.name!r} differs from the model: {agreement}. The exporters do "
            "not keep a file that differs. Either the model's outputs are so small that rounding "
            "decides them, or a layer was exported wrongly."
        )
    return agreement


def _reference(
    model: keras.Model, model_range: tuple[float, float] | None
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Returns a function from images in [-1, 1] to the model's output and features.

    The model runs in a graph, as model.predict runs it. Eager operations round at other places,
    which changes the features of an R50x1 with random weights by 1.5e-5 of the largest one.
    """
    images = keras.Input(model.input_shape[1:])
    compiled = keras.Model(images, outputs_of(model, model_range).run(images, training=False))
    compiled.compile(jit_compile=False)
    return compiled.predict_on_batch


def _error(model: keras.Model, value: np.ndarray, expected: np.ndarray) -> float:
    if not np.isfinite(expected).all():
        raise ValueError(
            f"Model {model.name!r} gives NaN or infinity for random images; expected finite "
            "numbers. The model's training diverged, or its weights are damaged."
        )
    difference, largest = np.abs(value - expected).max(), np.abs(expected).max()
    # The outputs of a new head are all zeros, so that no error relative to the largest output can
    # be computed.
    if not largest:
        return 0.0 if difference == 0 else np.inf
    return difference / largest


def has_half_precision(model: keras.Model) -> bool:
    """Returns True if a layer of a model, or of a model nested in it, computes in 16 bits."""
    return any(
        keras.backend.result_type(layer.compute_dtype, "float32") != layer.compute_dtype
        for layer in all_layers(model)
    )

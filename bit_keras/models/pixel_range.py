"""Finds out which values of black and white a model takes, from the layers that scale its input.

A BiT network takes images in [-1, 1]. A model around one may scale its images itself, by a
Rescaling, a Lambda of `preprocess_input`, or arithmetic; images that were scaled already would then
be scaled twice, and the model would give other classes.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from bit_keras.utils.keras_internals import inputs_of_operation, is_graph, operation_of

NETWORK_RANGE = (-1.0, 1.0)

# The usual ranges of pixel values; the first one is the range that BiT networks take.
_RANGES = (NETWORK_RANGE, (0.0, 255.0), (0.0, 1.0))

# The classes of layers in front of a network that do not change the values of pixels.
_WITHOUT_SCALE = (keras.layers.InputLayer, keras.layers.ZeroPadding2D)

# Black and white may differ from -1 and 1 by this much, because layers may divide pixels by 128 or
# by 127.5, and may compute in half precision.
_TOLERANCE = 0.02

# The height and width in pixels of the test images, if the model takes images of any size.
_SIDE = 32


def pixel_range(model: keras.Model) -> tuple[float, float] | None:
    """Returns the values of black and white that a functional model's layers map to -1 and 1.

    The layers in front of the first one with a kernel are computed on images of one value.

    Args:
        model: any Keras model.

    Returns:
        (-1, 1) if nothing scales the images, or if the model is not functional; (0, 255) or (0, 1);
        or None if the layers do something else to pixels, for instance standardize them.
    """
    stages = _layers_in_front(model) if is_graph(model) else []
    in_front = (layer for stage in stages for layer in stage.operations)
    if all(isinstance(layer, _WITHOUT_SCALE) for layer in in_front):
        return NETWORK_RANGE
    values = sorted({value for pair in _RANGES for value in pair})
    shape = [side or _SIDE for side in model.inputs[0].shape[1:]]
    results = np.stack([np.full(shape, value, "float32") for value in values])
    for stage in stages:
        results = stage.predict_on_batch(results)
    results = dict(zip(values, map(_center, np.asarray(results, "float32")), strict=True))
    return next((pair for pair in _RANGES if _is_network_range(*map(results.get, pair))), None)


def _layers_in_front(model: keras.Model) -> list[keras.Model]:
    """Returns models that, called in turn, compute the input of the first layer with a kernel."""
    for tensor in _in_order(model.outputs[0]):
        operation = operation_of(tensor)
        if not _has_kernel(operation):
            continue
        inputs = inputs_of_operation(tensor)
        before = [keras.Model(model.inputs, inputs[0])] if len(model.inputs) == 1 else []
        return before + (_layers_in_front(operation) if is_graph(operation) else [])
    return []


def _in_order(output: Any) -> Iterator[Any]:
    """Yields `output` and all tensors it is computed from, in the order of the computation."""
    seen, waiting = set(), [output]
    while waiting:
        tensor = waiting[-1]
        missing = [each for each in inputs_of_operation(tensor) if id(each) not in seen]
        if missing and id(tensor) not in seen:
            waiting += missing
            continue
        waiting.pop()
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor


def _has_kernel(operation: Any) -> bool:
    if isinstance(operation, keras.layers.Normalization):
        return False
    return any(len(weight.shape) > 1 for weight in getattr(operation, "weights", ()))


def _center(image: np.ndarray) -> np.ndarray:
    """Returns the middle pixel of an image, which no padding affects; returns vectors unchanged."""
    return image[image.shape[0] // 2, image.shape[1] // 2] if image.ndim == 3 else image


def _is_network_range(black: np.ndarray, white: np.ndarray) -> bool:
    """Returns True if black and white are -1 and 1, or 1 and -1, as in a negative of the image."""
    sign = np.sign(np.mean(white))
    error = max(np.abs(white - sign).max(), np.abs(black + sign).max())
    return sign != 0 and bool(error <= _TOLERANCE)

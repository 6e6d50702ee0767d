"""Finds out which values of black and white a model takes, from the layers that scale its input.

A BiT network takes images in [-1, 1]. A model around one may scale its images itself, by a
Rescaling, a Lambda of `preprocess_input`, or arithmetic; images that were scaled already would then
be scaled twice, and the model would give other classes.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from bit_keras.utils.keras_internals import (
    inputs_of_operation,
    is_graph,
    layers_below,
    operation_of,
)

NETWORK_RANGE = (-1.0, 1.0)

# The usual ranges of pixel values; the first one is the range that BiT networks take.
_RANGES = (NETWORK_RANGE, (0.0, 255.0), (0.0, 1.0))

# The classes of layers in front of a network that do not change the values of pixels.
_WITHOUT_SCALE = (keras.layers.InputLayer, keras.layers.ZeroPadding2D)

# Black and white may differ from -1 and 1 by this much, because layers may divide pixels by 128 or
# by 127.5, and may compute in half precision.
_TOLERANCE = 0.02

# Layers that usually scale pixels, if they are inside a model that is not functional.
_SCALING = (keras.layers.Rescaling, keras.layers.Normalization, keras.layers.Lambda)

# Black and white that differ by less than this, behind the layers in front of a network, are not
# what a network tells apart.
_LEAST_CONTRAST = 0.5

# Values that differ by less than this are equal, because sums over an image are rounded.
_EQUAL = 1e-3

# The height and width in pixels of the test images, if the model takes images of any size.
_SIDE = 32


def pixel_range(model: keras.Model) -> tuple[float, float] | None:
    """Returns the values of black and white that a functional model's layers map to -1 and 1.

    The layers in front of the first one with a kernel are computed on images of one value.

    Args:
        model: any Keras model.

    Returns:
        (-1, 1) if nothing scales the images, or if the model is not functional; (0, 255) or (0, 1);
        or None if the layers do something else to pixels, for instance standardize them, or if the
        first layer with a kernel is a model or a user's layer with layers of its own, which is not
        functional, because it may scale pixels inside.
    """
    if is_graph(model) and _is_opaque(_first_with_kernel(model)):
        return None
    stages = _layers_in_front(model) if is_graph(model) else []
    in_front = (layer for stage in stages for layer in stage.operations)
    if all(isinstance(layer, _WITHOUT_SCALE) for layer in in_front):
        return NETWORK_RANGE
    results = _after(stages, model)
    return next((pair for pair in _RANGES if _is_network_range(*map(results.get, pair))), None)


def takes_network_range(model: keras.Model) -> bool:
    """Returns True if a model may take images in [-1, 1], as far as can be seen from its layers.

    Of a model whose layers do something else to pixels than to scale them, this depends on what
    they make of black and white. The ranges [-1, 1], [0, 1] and [0, 255] are compared: with the
    range that a model takes, its first values lie around 0 and are not much closer together than
    1/2. Layers that learned from images, other than a Normalization, may do anything.
    """
    found = pixel_range(model)
    if found is not None or hides_scaling(model):
        return found == NETWORK_RANGE
    stages = _layers_in_front(model)
    in_front = [layer for stage in stages for layer in stage.operations]
    if any(_is_learned(layer) for layer in in_front):
        return True
    values = _after(stages, model)
    pairs = {
        pair: (float(np.mean(values[pair[0]])), float(np.mean(values[pair[1]]))) for pair in _RANGES
    }
    if all(abs(white - black) < _LEAST_CONTRAST for black, white in pairs.values()):
        # All images of one value give the same, as with a standardization of each image.
        return np.ptp([value for pair in pairs.values() for value in pair]) < _EQUAL
    off_centre = {
        pair: abs(black + white) / abs(white - black)
        for pair, (black, white) in pairs.items()
        if abs(white - black) >= _LEAST_CONTRAST
    }
    return min(off_centre, key=off_centre.get) == NETWORK_RANGE


def hides_scaling(model: keras.Model) -> bool:
    """Returns True if the first layer with a kernel is a model that may scale pixels inside.

    It is not known in what order a model or layer that is not functional calls its layers.
    """
    first = _first_with_kernel(model) if is_graph(model) else None
    return first is not None and any(isinstance(layer, _SCALING) for layer in _inside(first))


def _is_opaque(operation: Any) -> bool:
    """Returns True for a model that is not functional, and for a user's layer made of layers."""
    if not isinstance(operation, keras.layers.Layer):
        return False
    is_of_keras = type(operation).__module__.partition(".")[0] in ("keras", "bit_keras")
    return isinstance(operation, keras.Model) or (not is_of_keras and bool(layers_below(operation)))


def _inside(operation: Any) -> list[keras.layers.Layer]:
    """Returns the layers inside an opaque layer; [] for other layers."""
    if not _is_opaque(operation):
        return []
    found, waiting = [], layers_below(operation)
    while waiting:
        layer = waiting.pop()
        found.append(layer)
        waiting += layers_below(layer)
    return found


def _is_learned(operation: Any) -> bool:
    if isinstance(operation, keras.Model):
        return any(_is_learned(layer) for layer in operation.layers)
    is_given = isinstance(operation, keras.layers.Normalization)
    return not is_given and bool(getattr(operation, "weights", ()))


def _first_with_kernel(model: keras.Model) -> Any:
    """Returns the first layer with a kernel, looked for inside of functional models, or None."""
    for tensor in _in_order(model.outputs[0]):
        operation = operation_of(tensor)
        if _has_kernel(operation):
            return _first_with_kernel(operation) if is_graph(operation) else operation
    return None


def _after(stages: list[keras.Model], model: keras.Model) -> dict[float, np.ndarray]:
    """Returns by grey value what the layers in front make of an image of this value."""
    values = sorted({value for pair in _RANGES for value in pair})
    shape = [side or _SIDE for side in model.inputs[0].shape[1:]]
    results = np.stack([np.full(shape, value, "float32") for value in values])
    for stage in stages:
        results = stage.predict_on_batch(results)
    return dict(zip(values, map(_center, np.asarray(results, "float32")), strict=True))


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

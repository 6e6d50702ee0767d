"""Whether a written SavedModel gives the numbers of the model that it was made of."""

import os
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from bit_keras.saved_model.exported_module import Serving
from bit_keras.saved_model.outputs import Outputs

# Height and width of the images compared: odd ones too, where the model's are free.
_SIZES = ((64, 64), (45, 70))

# Largest difference over the largest value, in float32. A frozen kernel is rounded elsewhere.
_BOUND, _FROZEN_BOUND = 1e-5, 1e-4

# In half precision a graph that TensorFlow has optimized rounds in other places than the model.
_HALF_BOUND = 5e-2


def compare(
    model: keras.Model, outputs: Outputs, serving: Serving, path: str | os.PathLike
) -> None:
    """Raises a RuntimeError if a SavedModel's numbers are not those of the model.

    Raises:
        ValueError: the model itself gives NaN or infinity.
    """
    loaded = tf.saved_model.load(str(path))
    bound = bound_of(model, serving.frozen)

    # In a graph, as model.predict runs it: one by one, the operations round in other places, which
    # makes 1.5e-5 of the largest feature in an R50x1 of random weights.
    @tf.function(autograph=False, reduce_retracing=True)
    def run(images):
        return outputs.run(serving.to_network_range(images), training=False)

    for images in _images(model, serving):
        output, features = run(images)
        found = {
            "module(images)": (loaded(images), output),
            "serving_default": (
                loaded.signatures["serving_default"](images)[outputs.name],
                output,
            ),
            "features": (loaded.signatures["features"](images)["features"], features),
        }
        for name, (value, expected) in found.items():
            _check(model, name, value.numpy(), expected.numpy(), bound)


def _check(
    model: keras.Model, name: str, value: np.ndarray, expected: np.ndarray, bound: float
) -> None:
    if not np.isfinite(expected).all():
        raise ValueError(
            f"Model {model.name!r} gives NaN or infinity for random images; expected finite "
            "numbers. The training that made it diverged, or its weights are damaged."
        )
    difference = np.abs(value - expected).max()
    largest = np.abs(expected).max()
    if not difference <= bound * largest:
        raise RuntimeError(
            f"The SavedModel of {model.name!r} differs from the model: {name} by {difference:.3g} "
            f"where the largest value is {largest:.3g}; expected at most {bound:.0e} of that. "
            "Nothing was written. Either rounding alone decides the model's numbers, or a layer is "
            "not written as it computes."
        )


def _images(model: keras.Model, serving: Serving) -> Iterator[tf.Tensor]:
    rng = np.random.default_rng(0)
    for free in _SIZES:
        size = [fixed or size for fixed, size in zip(model.input_shape[1:3], free, strict=True)]
        images = rng.uniform(*serving.input_range, (2, *size, 3))
        yield tf.constant(images, tf.float32)


def bound_of(model: keras.Model, frozen: bool) -> float:
    """Returns how far an export may be from its model, over the largest value."""
    if any(
        keras.backend.result_type(layer.compute_dtype, "float32") != layer.compute_dtype
        for layer in layers_of(model)
    ):
        return _HALF_BOUND
    return _FROZEN_BOUND if frozen else _BOUND


def layers_of(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a model and of the models in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)

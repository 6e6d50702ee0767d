"""Rematerialization: cuts a network into parts that the backward pass computes again.

`keras.remat` does this on every backend. On TensorFlow, it uses `tf.custom_gradient`, which keeps
each graph, and with it all weights, until the process ends, so each training in a process would
leak its memory. On TensorFlow, `layers/recompute.py` is therefore used instead.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from bit_keras.layers.recompute import rematerialized


def steps(start: keras.KerasTensor, boundaries: Sequence, end: keras.KerasTensor) -> tuple:
    """Cuts a network at given tensors into functions, which are called one after the other.

    For the gradient, each function between two boundaries keeps only its input.

    Args:
        start: the input of the network.
        boundaries: tensors at which the network is cut. Each is computed from the one before, and
            no other tensor passes a boundary. Without boundaries, there are no functions.
        end: the output of the network.

    Returns:
        A tuple of functions that map a tensor to a tensor.

    Raises:
        ValueError: a layer between boundaries must not be computed twice.
    """
    if not boundaries:
        return ()
    repeated = [keras.Function(*pair) for pair in itertools.pairwise(boundaries)]
    _check_repeatable(layer for function in repeated for layer in function.operations)
    before, after = keras.Function(start, boundaries[0]), keras.Function(boundaries[-1], end)
    return (before, *map(_rematerialized, repeated), after)


def _check_repeatable(layers: Iterable) -> None:
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            raise ValueError(
                f"Layer {layer.name!r} is a batch normalization, which would count each batch "
                "twice in its moving averages if it was computed again for the gradient. Train "
                "this network without rematerialization, or with group normalization."
            )
        if layer.activity_regularizer is not None:
            raise ValueError(
                f"Layer {layer.name!r} has an activity_regularizer, whose loss gets no gradient if "
                "the layer's output is not kept. Train this network without rematerialization, or "
                "without the regularizer."
            )


def _rematerialized(function: keras.Function) -> Callable:
    if keras.backend.backend() != "tensorflow":
        return keras.remat(function)
    return functools.partial(_after_its_input, function)


def _after_its_input(function: keras.Function, x: Any) -> Any:
    import tensorflow as tf

    variables = [v.value for layer in function.operations for v in layer.trainable_variables]
    # Each rematerialized part waits for its input. Otherwise, TensorFlow could standardize the
    # kernels of all parts at once. With a wide network and small images, that took twice the
    # memory.
    with tf.control_dependencies([x]):
        return rematerialized(function, x, variables)

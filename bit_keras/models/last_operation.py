"""Finds out which activation a model ends in, be it a layer or an operation of keras.ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import activations, layers

from bit_keras.utils.keras_internals import inputs_of_operation, operation_of

# The operations of keras.ops that are activations of classifiers.
_OPERATIONS = {"Softmax": activations.softmax, "Sigmoid": activations.sigmoid}

# Layers that do not change the values of a classifier's output at inference.
_UNCHANGED = (layers.Identity, layers.Dropout, layers.Flatten, layers.Reshape)


def separate_activation(operation: Any) -> Callable | None:
    """Returns the activation that a layer or operation computes and does nothing else, or None.

    >>> separate_activation(layers.Softmax()) is activations.softmax
    True
    >>> separate_activation(layers.Dense(2, activation="softmax")) is None
    True
    """
    if isinstance(operation, layers.Softmax):
        return activations.softmax
    if isinstance(operation, layers.Activation):
        return operation.activation
    is_of_keras = type(operation).__module__.startswith("keras.")
    if not is_of_keras or isinstance(operation, keras.layers.Layer):
        return None
    return _OPERATIONS.get(type(operation).__name__)


def last_activation(model: keras.Model) -> str | None:
    """Returns the name of the activation that a model ends in; its last layer may be a model.

    Returns:
        The name, such as "linear" for a head of logits; None if the last operation is no layer with
        an activation, so that it is not known what it computes.
    """
    outputs = getattr(model, "outputs", None)
    return _activation_of(outputs[0]) if outputs else None


def _activation_of(tensor: Any) -> str | None:
    operation = operation_of(tensor)
    if getattr(operation, "outputs", None):
        return _activation_of(operation.outputs[0])
    activation = separate_activation(operation) or getattr(operation, "activation", None)
    if isinstance(operation, _UNCHANGED) or (
        activation is activations.linear and isinstance(operation, layers.Activation)
    ):
        return _activation_of(inputs_of_operation(tensor)[0])
    return getattr(activation, "__name__", None)

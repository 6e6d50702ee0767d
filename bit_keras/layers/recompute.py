"""Rematerialization on TensorFlow: a function is computed again when its gradient is needed."""

from collections.abc import Callable, Sequence
from typing import Any

from bit_keras.utils import keras_internals


def rematerialized(function: Callable, x: Any, variables: Sequence = ()) -> Any:
    """Returns `function(x)`; the backward pass keeps only `x` and calls the function again.

    Args:
        function: maps a tensor to a new tensor, and gives the same result at every call.
        x: a TensorFlow tensor or variable.
        variables: all trainable TensorFlow variables that the function reads.
    """
    import tensorflow as tf

    x = tf.convert_to_tensor(x)
    # The variables are read while the tape is recording, so that the tape connects the values with
    # the variables.
    values = [tf.convert_to_tensor(variable) for variable in variables]
    # TensorFlow's forward-mode differentiation (tf.autodiff.ForwardAccumulator) needs the plain
    # operations, because it cannot use a recorded gradient.
    if keras_internals.has_tangents([x, *values]):
        return function(x)
    with keras_internals.without_tape():
        y = function(x)

    def gradient(of_y: Any) -> list:
        with tf.control_dependencies([of_y]), tf.GradientTape() as tape:
            again = _after(x, of_y)
            tape.watch(again)
            y_again = function(again)
        return tape.gradient(y_again, [again, *variables], output_gradients=of_y)

    keras_internals.record_gradient("Rematerialized", [y], [x, *values], gradient)
    return y


def _after(x: Any, of_y: Any) -> Any:
    """Returns a copy of `x` that is computed only after the tensor `of_y`, also under XLA.

    Without this dependency, XLA would recognize the second computation as a copy of the first and
    keep the first result in memory.
    """
    import tensorflow as tf

    element = tf.reduce_sum(tf.reshape(of_y, [-1])[:1])
    nothing = tf.minimum(tf.abs(element), 0)
    return x + tf.cast(nothing, x.dtype)

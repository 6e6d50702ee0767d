"""Computing a part of a network again when its gradient is due, instead of keeping it.

`keras.remat` does this on every backend. On TensorFlow it stands on `tf.custom_gradient`, which in
a graph registers a function for the life of the process, and by it that graph and the weights: each
training in a process would leave its memory behind. So the gradient is recorded on the tape here,
by TensorFlow's private `tensorflow.python.eager.record`, as `tf.custom_gradient` does itself.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras


def steps(start: keras.KerasTensor, boundaries: Sequence, end: keras.KerasTensor) -> tuple:
    """Cuts a network into functions to call in turn; between boundaries only inputs are kept.

    Args:
        start: the input.
        boundaries: tensors that the network computes one from another, nothing else flowing past
            them; the network is cut at each. Without any there are no functions.
        end: the output.

    Returns:
        A tuple of functions of one tensor to one tensor.

    Raises:
        ValueError: layers between boundaries that may not be computed twice.
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
                f"{layer.name!r} is batch normalization, which would count each batch twice in its "
                "moving averages if it was computed again for the gradient. Train this network "
                "without rematerialization, or with group normalization."
            )
        if layer.activity_regularizer is not None:
            raise ValueError(
                f"{layer.name!r} has an activity_regularizer, whose loss has no gradient where the "
                "activity is not kept. Train this network without rematerialization, or without "
                "the regularizer."
            )


def _rematerialized(function: keras.Function) -> Callable:
    if keras.backend.backend() != "tensorflow":
        return keras.remat(function)
    return functools.partial(_when_its_input_is_there, function)


def _when_its_input_is_there(function: keras.Function, x: Any) -> Any:
    import tensorflow as tf

    variables = [v.value for layer in function.operations for v in layer.trainable_variables]
    # Kernels can be standardized before there is an input. Those of all the network would be: of a
    # wide network and small images, twice as much memory.
    with tf.control_dependencies([x]):
        return rematerialized(function, x, variables)


def rematerialized(function: Callable, x: Any, variables: Sequence = ()) -> Any:
    """Returns `function(x)`, of which TensorFlow's tape keeps only `x` for the gradient.

    Args:
        function: of one tensor to one new tensor, the same at every call.
        x: a TensorFlow tensor or variable.
        variables: TensorFlow's, all from which the function computes and which are to train.
    """
    import tensorflow as tf
    from tensorflow.python.eager import record

    x = tf.convert_to_tensor(x)
    # Read on the tape, by which the gradient finds them.
    values = [tf.convert_to_tensor(variable) for variable in variables]
    with record.stop_recording():
        y = function(x)

    def gradient(of_y: Any) -> list:
        with tf.control_dependencies([of_y]), tf.GradientTape() as tape:
            again = _after(x, of_y)
            tape.watch(again)
            y_again = function(again)
        return tape.gradient(y_again, [again, *variables], output_gradients=of_y)

    record.record_operation("Rematerialized", [y], [x, *values], gradient)
    return y


def _after(x: Any, of_y: Any) -> Any:
    """`x`, not before `of_y` is known: XLA knows no control dependencies, only data.

    Without it XLA takes what is computed again for what was computed before, and keeps that.
    """
    import tensorflow as tf

    element = tf.reduce_sum(tf.reshape(of_y, [-1])[:1])
    nothing = tf.minimum(tf.abs(element), 0)
    return x + tf.cast(nothing, x.dtype)

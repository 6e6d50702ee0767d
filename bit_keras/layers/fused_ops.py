"""Fast TensorFlow forms of group normalization with ReLU and of weight standardization, for CPUs.

`group_norm` is recorded as one operation on TensorFlow's gradient tape, with a gradient of its own:

    z = (x - mean) * r,    r = 1 / sqrt(variance + epsilon)          over a group
    y = relu(gamma * z + beta)

    d = dy where y > 0, else 0
    dbeta = sum d,    dgamma = sum d * z                             over examples and positions
    dx = r * (gamma * d - mean(gamma * d) - z * mean(gamma * d * z))    means over a group

The forward and the backward pass first reduce each channel over its positions, then compute on
small tensors `[N, G, C / G]`, and finally do one multiplication and addition for each activation
(the backward pass does two). The tape keeps only two maps: y, and x minus each channel's mean.
Subtracting the mean first keeps the result and the gradient precise where the mean is much larger
than the standard deviation. If x has half precision, the tape keeps x itself, and the backward pass
subtracts the means again. The variance is computed from x minus the mean, never as
E[x^2] - E[x]^2.
"""

import math
from collections.abc import Callable
from typing import Any

from bit_keras.layers.tracing import saving_gradients
from bit_keras.utils import keras_internals

# From this number of activations per image on, a matrix product computes a mean faster than
# tf.reduce_mean. Measured on two cores with batches of 1 and 8 images: for 14 x 14 x 256
# activations the product takes 0.13 ms longer, for 56 x 56 x 256 it takes 0.2 and 0.7 ms less.
_LARGE = 300_000


def group_norm(
    x: Any,
    gamma: Any,
    beta: Any,
    groups: int,
    epsilon: float,
    relu: bool,
    dtype: str,
    plain: Callable,
) -> Any:
    """Returns the group normalization of x, optionally followed by ReLU.

    Args:
        x: `[N, ..., C]`, of any float dtype.
        gamma, beta: `[C]`, in the dtype of the computation: float32 or float64.
        groups: number of groups of consecutive channels; it divides C.
        epsilon: added to the variance.
        relu: if True, apply ReLU to the result.
        dtype: dtype of the result.
        plain: function `(x, gamma, beta) -> y` that computes the same result with TensorFlow
            operations; the gradient of the gradient is computed by differentiating it twice.
    """
    import tensorflow as tf

    inputs = [tf.convert_to_tensor(tensor) for tensor in (x, gamma, beta)]
    # TensorFlow's forward-mode differentiation (tf.autodiff.ForwardAccumulator) needs the plain
    # operations, because it cannot use a recorded gradient.
    if keras_internals.has_tangents(inputs):
        return plain(*inputs)

    def with_gradient(*inputs: Any) -> tuple[Any, Callable]:
        return _group_norm(list(inputs), groups, epsilon, relu, dtype, plain)

    if saving_gradients.is_on():
        return tf.custom_gradient(with_gradient)(*inputs)
    # The gradient is recorded without tf.custom_gradient, because tf.custom_gradient keeps each
    # graph in memory until the process ends.
    with keras_internals.without_tape():
        y, gradient = with_gradient(*inputs)
    keras_internals.record_gradient("GroupNorm", [y], inputs, gradient)
    return y


def _group_norm(
    inputs: list, groups: int, epsilon: float, relu: bool, dtype: str, plain: Callable
) -> tuple[Any, Callable]:
    """Returns the output y and its gradient function, which maps dy to [dx, dgamma, dbeta]."""
    import tensorflow as tf

    x = inputs[0]
    channels = x.shape[-1]
    wide = inputs[1].dtype
    is_half = x.dtype.size < wide.size
    gamma, beta = (tf.reshape(each, (groups, channels // groups)) for each in inputs[1:])

    def of_groups(numbers: Any) -> Any:
        """Reshapes numbers per channel, [N, 1, ..., C], to numbers in groups, [N, G, C / G]."""
        return tf.reshape(numbers, (-1, groups, channels // groups))

    def of_channels(numbers: Any) -> Any:
        """Reshapes numbers in groups, [N, G, C / G], to numbers per channel, [N, 1, ..., C]."""
        return tf.reshape(numbers, (-1, *(1 for _ in x.shape[1:-1]), channels))

    def over_group(numbers: Any) -> Any:
        return tf.reduce_mean(numbers, axis=-1, keepdims=True)

    # `centred` is x minus its channel's mean, and `centred + missing` is x minus its group's mean.
    wide_x = tf.cast(x, wide)
    mean = _mean(wide_x)
    means = of_groups(mean)
    centred, missing = wide_x - mean, means - over_group(means)
    variance = of_groups(_mean(tf.square(centred))) + tf.square(missing)
    r = tf.math.rsqrt(over_group(variance) + epsilon)
    scale = r * gamma
    channel_scale = of_channels(scale)
    y = centred * channel_scale + of_channels(missing * scale + beta)
    y = tf.cast(y, dtype)
    y = tf.nn.relu(y) if relu else y

    def gradient(dy: Any) -> list:
        if keras_internals.has_tangents([dy]):
            return _first(plain, inputs, dy)
        # The control dependency on dy delays the cast of x until the backward pass; otherwise
        # TensorFlow would keep the cast copy in memory from the forward pass on.
        with keras_internals.without_tape(), tf.control_dependencies([dy]):
            kept = tf.cast(x, wide) - mean if is_half else centred
            d = tf.cast(tf.raw_ops.ReluGrad(gradients=dy, features=y) if relu else dy, wide)
            mean_d = of_groups(_mean(d))
            mean_dz = (of_groups(_mean(d * kept)) + missing * mean_d) * r
            slope = -over_group(gamma * mean_dz) * tf.square(r)
            offset = slope * missing - over_group(gamma * mean_d) * r
            # `slope` has one number per group and `offset` has one per channel, so `slope` is
            # broadcast to the shape of `offset`.
            slope = of_channels(tf.broadcast_to(slope, tf.shape(offset)))
            dx = d * channel_scale + (kept * slope + of_channels(offset))
            positions = tf.cast(tf.reduce_prod(tf.shape(x)[1:-1]), wide)
            totals = (positions * tf.reduce_sum(each, axis=0) for each in (mean_dz, mean_d))
            gradients = [tf.cast(dx, x.dtype), *(tf.reshape(t, (channels,)) for t in totals)]
        keras_internals.record_gradient(
            "GroupNormGrad", gradients, [*inputs, dy], lambda *ups: _second(plain, inputs, dy, ups)
        )
        return gradients

    return y, gradient


def _mean(x: Any) -> Any:
    """Returns the mean of x over all axes but the first and the last, as `[N, 1, ..., C]`.

    The mean of a large map is computed as a matrix product with a row of ones, which is faster
    there but has a fixed cost of 0.1 ms.
    """
    import tensorflow as tf

    axes = tuple(range(1, x.shape.rank - 1))
    if None in x.shape[1:] or math.prod(x.shape[1:]) < _LARGE:
        return tf.reduce_mean(x, axis=axes, keepdims=True)
    positions, channels = math.prod(x.shape[1:-1]), x.shape[-1]
    rows = tf.reshape(x, (-1, positions, channels))
    # The sum over positions is divided by their number. Multiplying by 1 / positions would round,
    # and the mean of a constant channel would no longer be exact.
    means = tf.matmul(tf.ones((1, 1, positions), x.dtype), rows) / positions
    return tf.reshape(means, (-1, *(1 for _ in axes), channels))


def _first(plain: Callable, inputs: list, dy: Any) -> list:
    """Returns the gradients of `inputs` for the gradient dy of y, by differentiating `plain`."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = plain(*inputs)
    return tape.gradient(y, inputs, output_gradients=dy)


def _second(plain: Callable, inputs: list, dy: Any, upstream: tuple) -> list:
    """Returns second-order gradients of `inputs` and dy, by differentiating `plain` twice."""
    import tensorflow as tf

    with tf.GradientTape() as outer:
        outer.watch([*inputs, dy])
        first = _first(plain, inputs, dy)
    return outer.gradient(first, [*inputs, dy], output_gradients=upstream)


def standardize(kernel: Any, epsilon: float) -> Any:
    """Returns `(kernel - mean) / sqrt(var + epsilon)`, with mean and var of each output channel.

    Args:
        kernel: `[..., in_channels / groups, filters]`, float32.
        epsilon: added to the biased variance.
    """
    import tensorflow as tf

    filters = kernel.shape[-1]
    standardized, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(kernel, (-1, 1, 1, filters)),
        scale=tf.ones(filters),
        offset=tf.zeros(filters),
        # The moving averages are empty tensors, because a batch normalization in training mode does
        # not read them.
        mean=tf.zeros(0),
        variance=tf.zeros(0),
        epsilon=epsilon,
        is_training=True,
    )
    return tf.reshape(standardized, kernel.shape)

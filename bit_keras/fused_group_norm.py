"""Group normalization and ReLU as one step of TensorFlow's tape, with a gradient of its own.

    z = (x - mean) * r,    r = 1 / sqrt(variance + epsilon)          over a group
    y = relu(gamma * z + beta)

    d = dy where y > 0, else 0
    dbeta = sum d,    dgamma = sum d * z                             over examples and positions
    dx = r * (gamma * d - mean(gamma * d) - z * mean(gamma * d * z))    means over a group

Both directions first reduce the positions of each channel, as a product with a row of ones, which
is the quickest sum on a CPU, and do all the rest on `[N, C]` numbers, except for one multiplication
and addition for each activation (backward: two). The tape keeps the centred x and
y alone.
"""

from collections.abc import Callable
from typing import Any

from keras import ops


def group_norm(
    x: Any, gamma: Any, beta: Any, groups: int, epsilon: float, relu: bool, plain: Callable
) -> Any:
    """Returns y.

    Args:
        x: `[N, ..., C]`, float32 or float64.
        gamma, beta: `[C]`, of the dtype of x.
        groups: of consecutive channels; it divides C.
        epsilon: added to the variance.
        relu: whether; without it y is what it would be applied to.
        plain: (x, gamma, beta) -> y by operations whose gradients are all known. The gradient of
            the gradient is taken from it.
    """
    import tensorflow as tf
    from tensorflow.python.eager import record

    inputs = [tf.convert_to_tensor(tensor) for tensor in (x, gamma, beta)]
    x, gamma, beta = inputs
    shape, channels = ops.shape(x), x.shape[-1]

    def of_groups(numbers: Any) -> Any:
        """[N, 1, C] -> [N, G, C / G]"""
        return tf.reshape(numbers, (-1, groups, channels // groups))

    def of_channels(numbers: Any) -> Any:
        """[N, G, 1] -> [N, 1, C]"""
        return tf.reshape(tf.repeat(numbers, channels // groups, axis=-1), (-1, 1, channels))

    with record.stop_recording():
        rows = tf.reshape(x, (shape[0], -1, channels))
        positions = tf.cast(ops.shape(rows)[1], x.dtype)
        mean = _sum(rows) / positions
        # It serves the variance, the result and the gradient, so that a mean far larger than the
        # deviation costs none of them digits.
        centred = rows - mean
        variance = of_groups(_sum(tf.square(centred)) / positions)
        from_group_mean = of_groups(mean)
        from_group_mean -= tf.reduce_mean(from_group_mean, axis=-1, keepdims=True)
        variance = tf.reduce_mean(variance + tf.square(from_group_mean), axis=-1, keepdims=True)
        from_group_mean = tf.reshape(from_group_mean, (-1, 1, channels))
        r = of_channels(1.0 / tf.sqrt(variance + epsilon))
        scale = r * gamma
        y = centred * scale + (from_group_mean * scale + beta)
        y = tf.nn.relu(y) if relu else y
        result = tf.reshape(y, shape)

    def gradient(dy: Any) -> list:
        with record.stop_recording():
            d = tf.reshape(dy, ops.shape(rows))
            d = tf.raw_ops.ReluGrad(gradients=d, features=y) if relu else d
            sum_d = _sum(d)
            sum_dz = (_sum(d * centred) + from_group_mean * sum_d) * r

            def group_mean(numbers: Any) -> Any:
                means = tf.reduce_mean(of_groups(numbers), axis=-1, keepdims=True)
                return of_channels(means) / positions

            slope = -group_mean(gamma * sum_dz) * tf.square(r)
            offset = slope * from_group_mean - group_mean(gamma * sum_d) * r
            dx = tf.reshape(d * scale + (centred * slope + offset), shape)
            gradients = [dx, tf.reduce_sum(sum_dz, (0, 1)), tf.reduce_sum(sum_d, (0, 1))]
        record.record_operation(
            "GroupNormGrad", gradients, [*inputs, dy], lambda *ups: _second(plain, inputs, dy, ups)
        )
        return gradients

    record.record_operation("GroupNorm", [result], inputs, gradient)
    return result


def _sum(rows: Any) -> Any:
    """[N, positions, C] -> [N, 1, C]"""
    import tensorflow as tf

    return tf.matmul(tf.ones((1, 1, ops.shape(rows)[1]), rows.dtype), rows)


def _second(plain: Callable, inputs: list, dy: Any, upstream: tuple) -> list:
    import tensorflow as tf

    with tf.GradientTape() as outer:
        outer.watch([*inputs, dy])
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            y = plain(*inputs)
        first = inner.gradient(y, inputs, output_gradients=dy)
    return outer.gradient(first, [*inputs, dy], output_gradients=upstream)

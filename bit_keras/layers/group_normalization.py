"""The layer `GroupNormalization`: the group normalization of Big Transfer.

    GroupNormalization    gamma * (x - mean(x)) / sqrt(var(x) + 1e-5) + beta, per group

The layer is a drop-in replacement of `keras.layers.GroupNormalization`. Mean and variance are
biased (divided by n) and computed in float32, or in float64 if the input is float64, under every
dtype policy.
Source: Big Transfer (arXiv 1912.11370), section 3.2; its official code, `tf2_keras/models.py`.
"""

import functools

import keras
from keras import activations, ops

from bit_keras.layers import fused_ops
from bit_keras.layers.tracing import in_cpu_graph
from bit_keras.utils.integers import is_integer

# The epsilon added to the variance of a group of activations; Keras' own default is 1e-3.
GROUP_EPSILON = 1e-5


@keras.saving.register_keras_serializable(package="bit_keras")
class GroupNormalization(keras.layers.GroupNormalization):
    """A `keras.layers.GroupNormalization` with BiT's epsilon and an optional fused activation.

    Mean and variance (biased) are computed for each example and each group of consecutive
    channels, over all positions (arXiv 1803.08494, equation 2). The variance is computed from
    x minus the mean, never as E[x^2] - E[x]^2, which has no correct digits left where the mean is
    much larger than the standard deviation.

    Args:
        groups: number of groups; it divides the number of channels. -1 means one group for each
            channel.
        axis: the axis of the channels; any axis but the first.
        epsilon: added to the variance.
        activation: a Keras activation, applied to the result before the cast to the compute dtype.
        **kwargs: all other arguments of `keras.layers.GroupNormalization`.

    Input and output: `[batch, ..., channels]`, any rank from 2.

    Example:

    >>> layer = GroupNormalization(activation="relu")
    >>> layer(keras.ops.ones((1, 8, 8, 64))).shape
    TensorShape([1, 8, 8, 64])
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = GROUP_EPSILON,
        *args,
        activation=None,
        **kwargs,
    ):
        super().__init__(groups, axis, epsilon, *args, **kwargs)
        self.activation = activations.get(activation)

    def build(self, input_shape):
        rank = len(input_shape)
        is_axis = is_integer(self.axis) and -rank <= self.axis < rank
        if not is_axis or self.axis % rank == 0:
            raise ValueError(
                f"GroupNormalization {self.name!r}: axis={self.axis} is not an axis of channels of "
                f"an input of shape {tuple(input_shape)}. Expected 1 to {rank - 1}, or "
                f"{1 - rank} to -1."
            )
        super().build(input_shape)

    def call(self, inputs):
        channels_last = self.axis % len(inputs.shape) == len(inputs.shape) - 1
        x = inputs if channels_last else ops.moveaxis(inputs, self.axis, -1)
        x = self._normalize(x)
        return x if channels_last else ops.moveaxis(x, -1, self.axis)

    def _normalize(self, x):
        """Normalizes x, whose last axis is the channels, and applies the activation."""
        channels = x.shape[-1]
        wide = keras.backend.result_type(x.dtype, "float32")
        gamma = ops.cast(self.gamma, wide) if self.scale else ops.ones(channels, wide)
        beta = ops.cast(self.beta, wide) if self.center else ops.zeros(channels, wide)
        relu = self.activation is activations.relu
        # ReLU gives the same result before and after rounding to the compute dtype. All other
        # activations are applied before rounding.
        dtype = self.compute_dtype if relu or self.activation is None else wide
        arguments = {"groups": self.groups, "epsilon": self.epsilon, "relu": relu, "dtype": dtype}
        plain = functools.partial(_group_norm, **arguments)
        if in_cpu_graph():
            x = fused_ops.group_norm(x, gamma, beta, **arguments, plain=plain)
        else:
            x = plain(x, gamma, beta)
        if not relu and self.activation is not None:
            x = self.activation(x)
        return ops.cast(x, self.compute_dtype)

    def get_config(self) -> dict:
        # The attribute may have been set to None, which is "linear".
        activation = activations.get(self.activation)
        return {**super().get_config(), "activation": activations.serialize(activation)}


def _group_norm(x, gamma, beta, groups: int, epsilon: float, relu: bool, dtype: str):
    """Normalizes x, `[N, ..., C]`, over groups of channels, in the dtype of gamma and beta.

    Each channel is first reduced over its positions, and the small results are then combined to
    groups; on a CPU this takes half the time of reshaping x into groups. The variance and the
    result are both computed from x minus its mean, so that a large mean costs no precision.
    """
    x = ops.cast(x, gamma.dtype)
    positions = tuple(range(1, len(x.shape) - 1))
    channels = x.shape[-1]
    grouped = (-1, groups, channels // groups)

    def to_channels(statistic):
        statistic = ops.broadcast_to(statistic, ops.shape(mean))
        return ops.reshape(statistic, (-1, *(1 for _ in positions), channels))

    # In a map of one position, each channel's mean is its value and its variance is 0. x - x is not
    # computed there, because converters to ONNX make a constant of another shape of it.
    is_one_position = all(x.shape[axis] == 1 for axis in positions)
    mean = x if is_one_position else ops.mean(x, axis=positions, keepdims=True)
    mean, centred = ops.reshape(mean, grouped), None if is_one_position else x - mean
    from_group_mean = mean - ops.mean(mean, axis=-1, keepdims=True)
    variance = ops.square(from_group_mean)
    if centred is not None:
        of_channels = ops.mean(ops.square(centred), axis=positions, keepdims=True)
        variance = ops.reshape(of_channels, grouped) + variance
    variance = ops.mean(variance, axis=-1, keepdims=True)

    scale = to_channels(1.0 / ops.sqrt(variance + epsilon)) * gamma
    y = to_channels(from_group_mean) * scale + beta
    y = y if centred is None else centred * scale + y
    return ops.cast(ops.relu(y) if relu else y, dtype)

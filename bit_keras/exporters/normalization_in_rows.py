"""Group normalization on 3-D tensors, which OpenVINO runs faster and LiteRT can quantize.

The usual form subtracts each channel's own mean first. In a map of one pixel that gives zeros only,
and LiteRT ends the process when it quantizes a tensor without a range. This form subtracts the mean
of a whole group.
"""

import math

import keras
from keras import ops

from bit_keras.exporters.saved_model_module import copied_layer
from bit_keras.layers.group_normalization import GroupNormalization


def with_normalization_in_rows(model: keras.Model) -> keras.Model:
    """Returns a copy of a functional model whose group normalization works on 3-D tensors of rows.

    Each row holds the values of one group of one image. The copy has the same weights, and
    OpenVINO runs it faster.
    """
    copy = keras.models.clone_model(model, clone_function=_layer_in_rows, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def _layer_in_rows(layer: keras.layers.Layer) -> keras.layers.Layer:
    return copied_layer(layer, _InRows if type(layer) is GroupNormalization else None)


class _InRows(GroupNormalization):
    def _normalize(self, x):
        rank, channels = len(x.shape), x.shape[-1]
        positions = ops.shape(x)[1:-1]
        affine_shape = (channels, *(1 for _ in positions))
        rows = ops.reshape(
            ops.transpose(x, (0, rank - 1, *range(1, rank - 1))),
            (-1, self.groups, channels // self.groups * math.prod(positions)),
        )
        # The axis of the mean is a tuple, because OpenVINO fails if the axis is a single number.
        centred = rows - ops.mean(rows, axis=(2,), keepdims=True)
        variance = ops.mean(ops.square(centred), axis=(2,), keepdims=True)
        x = ops.reshape(centred / ops.sqrt(variance + self.epsilon), (-1, channels, *positions))
        if self.scale:
            x = x * ops.cast(ops.reshape(self.gamma, affine_shape), x.dtype)
        if self.center:
            x = x + ops.cast(ops.reshape(self.beta, affine_shape), x.dtype)
        x = ops.transpose(x, (0, *range(2, rank), 1))
        return x if self.activation is None else self.activation(x)

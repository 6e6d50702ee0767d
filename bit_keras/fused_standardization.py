"""Weight standardization by TensorFlow's batch normalization, which on a CPU is one operation.

A kernel is a batch of `height * width * in_channels / groups` examples with a channel for each
filter; standardized is what batch normalization makes of it in training, with gamma = 1, beta = 0.
For its gradient the tape keeps the kernel, and not what was made of it. A SavedModel that was
exported on a CPU has this operation on a GPU too: cuDNN's least epsilon, once 1e-5, is 0 since
version 8 (CUDNN_BN_MIN_EPSILON in its header).
"""

from typing import Any


def standardize(kernel: Any, epsilon: float) -> Any:
    """Returns `(kernel - mean) / sqrt(var + epsilon)`, statistics per output channel.

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
        # Of the moving averages, which training does not read.
        mean=tf.zeros(0),
        variance=tf.zeros(0),
        epsilon=epsilon,
        is_training=True,
    )
    return tf.reshape(standardized, kernel.shape)

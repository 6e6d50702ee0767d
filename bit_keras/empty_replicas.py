"""A replica whose share of a batch is empty, as of a last batch with fewer samples than replicas.

On a CPU, TensorFlow's convolutions give an empty batch the height, width and channels of their
input. So a model of them is called on one sample of zeros instead, and the answer is cut off.
"""

from collections.abc import Callable
from typing import Any

import keras


def may_be_empty(inputs: Any) -> bool:
    """Returns whether these are a replica's samples, one of several replicas', whose number shows
    only when they are there."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return False
    tensors = keras.tree.flatten(inputs)
    return bool(tensors) and all(
        isinstance(tensor, tf.Tensor) and tensor.shape.rank and tensor.shape[0] is None
        for tensor in tensors
    )


def call_on_samples(call: Callable[[Any], Any], inputs: Any) -> Any:
    """Returns `call(inputs)`, for an empty batch too."""
    import tensorflow as tf

    rows = tf.shape(keras.tree.flatten(inputs)[0])[0]

    def one_at_least(tensor: tf.Tensor) -> tf.Tensor:
        def of_zeros() -> tf.Tensor:
            return tf.zeros(tf.concat([[1], tf.shape(tensor)[1:]], axis=0), tensor.dtype)

        some = tf.cond(tf.equal(rows, 0), of_zeros, lambda: tensor)
        some.set_shape(tensor.shape)
        return some

    outputs = call(keras.tree.map_structure(one_at_least, inputs))
    return keras.tree.map_structure(lambda tensor: tensor[:rows], outputs)

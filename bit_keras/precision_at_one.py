"""Accuracy where an image may have several labels."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="bit_keras")
def precision_at_one(labels, logits):
    """Returns whether the most probable class is one of an image's labels, 0 or 1.

    With one label an image it is the accuracy.

    Args:
        labels: `[batch, classes]`, a 1 for each label.
        logits: `[batch, classes]`.

    Returns:
        `[batch]`.
    """
    predicted = ops.expand_dims(ops.argmax(logits, axis=-1), -1)
    return ops.squeeze(ops.take_along_axis(ops.cast(labels, logits.dtype), predicted, axis=-1), -1)

"""A metric for images that may have several labels."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="bit_keras")
def precision_at_one(labels, logits):
    """Returns 1 for each image whose most probable class is one of its labels, else 0.

    For images with a single label, its mean is the accuracy.

    Args:
        labels: `[batch, classes]`, a 1 for each label.
        logits: `[batch, classes]`.

    Returns:
        `[batch]`.
    """
    predicted = ops.expand_dims(ops.argmax(logits, axis=-1), -1)
    return ops.squeeze(ops.take_along_axis(ops.cast(labels, logits.dtype), predicted, axis=-1), -1)

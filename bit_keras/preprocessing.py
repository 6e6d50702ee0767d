"""From pixels to the network's input."""

import keras
import numpy as np
from keras import ops


def preprocess_input(images):
    """Returns `(images - 127.5) / 127.5`: pixels 0..255 become [-1, 1].

    Source: the official code, `input_pipeline_tf2_or_jax.py`.

    Args:
        images: uint8 or float, 0 to 255, RGB in the last axis; any shape. A numpy array, a tensor
            of the Keras backend, or a KerasTensor.

    Returns:
        float32 of the same shape; a numpy array for a numpy array.

    Example:

    >>> preprocess_input(np.array([0, 255], "uint8"))
    array([-1.,  1.], dtype=float32)
    """
    if isinstance(images, np.ndarray):
        return (images.astype("float32") - 127.5) / 127.5
    if not keras.utils.is_keras_tensor(images):
        images = ops.convert_to_tensor(images)
    return (ops.cast(images, "float32") - 127.5) / 127.5

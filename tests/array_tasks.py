"""Tasks whose images are given as arrays."""

import numpy as np
import tensorflow as tf

from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task


def array_examples(images, labels, known=True):
    labels = np.asarray(labels, np.int64)
    return Examples(
        num_examples=len(labels),
        elements=lambda: tf.data.Dataset.from_tensor_slices({"image": images, "label": labels}),
        read=lambda element: element,
        labels=labels if known else None,
    )


def array_task(images, labels=None, **kwargs):
    """A task of arrays; without labels each image is its own class."""
    labels = range(len(images)) if labels is None else labels
    examples = array_examples(images, labels)
    names = tuple(f"class {label}" for label in range(max(labels) + 1))
    return Task("arrays", names, images.shape[1:3], examples, examples, **kwargs)

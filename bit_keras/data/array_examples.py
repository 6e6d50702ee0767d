"""Examples whose images are an array in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from bit_keras.data.examples import Examples


def array_examples(images: np.ndarray, labels: np.ndarray) -> Examples:
    """Returns the examples of images in memory.

    Args:
        images: uint8 `[N, H, W, 3]`, or `[N, H, W, 1]` of grey images, which become RGB when they
            are read.
        labels: int64 `[N]`.
    """

    def read(element: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        if images.shape[-1] == 3:
            return element
        return {**element, "image": tf.repeat(element["image"], 3, axis=-1)}

    return Examples(
        num_examples=len(labels),
        elements=lambda: tf.data.Dataset.from_tensor_slices({"image": images, "label": labels}),
        read=read,
        labels=labels,
    )


def examples_by_class(
    classes: Sequence[Sequence[str]], pictures: Mapping[str, np.ndarray]
) -> Examples:
    """Returns the examples of named pictures.

    Args:
        classes: the names of the pictures of each class.
        pictures: uint8 `[H, W, C]` of each name.
    """
    names = [name for each in classes for name in each]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(each) for each in classes])
    return array_examples(np.stack([pictures[name] for name in names]), labels)


def digest_of_arrays(*arrays: np.ndarray) -> str:
    """Returns a digest of pixels, for `Task.source`, where they depend on what is installed."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]

"""The handwritten digits embedded in scikit-learn: a real task that needs no download."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bit_keras.data.tasks import Examples, Task

# The split is part of the task: it must not move with the seed of a training run.
_SPLIT_SEED = 0
_TEST_FRACTION = 0.2

# load_digits counts the inked pixels of 4x4 blocks: 0 to 16.
_MAX_COUNT = 16


def load(name: str, argument: str) -> Task:
    """Returns the digits task: 1437 training and 360 test images, 8x8, 10 classes.

    The grey images are repeated to RGB uint8; the split is stratified and fixed. Not flipped in
    training, since a mirrored digit is another sign.

    Args:
        name: the task's name.
        argument: what follows the prefix in the name: nothing.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    del argument  # "digits" is a whole name: nothing follows.
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ModuleNotFoundError(
            'The task "digits" needs scikit-learn, which is not installed: '
            'pip install "bit_keras[examples]"'
        ) from error
    counts, labels = load_digits(return_X_y=True)
    grey = np.round(counts.reshape(-1, 8, 8, 1) * 255 / _MAX_COUNT).astype(np.uint8)
    images = np.repeat(grey, 3, axis=-1)
    labels = labels.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)),
        test_size=_TEST_FRACTION,
        stratify=labels,
        random_state=_SPLIT_SEED,
    )
    return Task(
        name=name,
        class_names=tuple(str(digit) for digit in range(10)),
        image_size=(8, 8),
        train=_examples(images[train], labels[train]),
        test=_examples(images[test], labels[test]),
        flip=False,
    )


def _examples(images: np.ndarray, labels: np.ndarray) -> Examples:
    return Examples(
        num_examples=len(labels),
        elements=lambda: tf.data.Dataset.from_tensor_slices({"image": images, "label": labels}),
        read=lambda element: element,
        labels=labels,
    )

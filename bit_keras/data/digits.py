"""The task "digits": the handwritten digits inside scikit-learn, which need no download."""

from __future__ import annotations

import numpy as np

from bit_keras.data.array_examples import array_examples
from bit_keras.data.tasks import Task

# The seed of the split into training and test images. The split belongs to the task, so the split
# does not depend on the seed of a training run.
_SPLIT_SEED = 0
_TEST_FRACTION = 0.2

# A pixel of scikit-learn's load_digits counts the dark pixels in a 4x4 block, from 0 to 16.
_MAX_COUNT = 16


def load(name: str) -> Task:
    """Returns the digits task: 1437 training and 360 test images of 8x8 pixels in 10 classes.

    The grey images become RGB uint8. The split is fixed and has the same share of each class. The
    images are not flipped in training, because a mirrored digit is another sign.

    Args:
        name: the task's name.

    Raises:
        ImportError: scikit-learn is not installed.
    """
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
        train=array_examples(images[train], labels[train]),
        test=array_examples(images[test], labels[test]),
        flip=False,
    )

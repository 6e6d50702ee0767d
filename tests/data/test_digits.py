"""The embedded digits."""

import hashlib
import sys

import numpy as np
import pytest

from bit_keras.data.tasks import task


def images_of(examples):
    return np.stack([example["image"] for example in examples.dataset().as_numpy_iterator()])


def test_description():
    digits = task("digits")
    assert digits.name == "digits"
    assert digits.class_names == tuple("0123456789")
    assert (digits.num_examples, digits.num_test_examples) == (1437, 360)
    assert digits.image_size == (8, 8)
    assert digits.flip is False
    assert digits.random_crop is True
    for examples in (digits.train, digits.test):
        assert examples.labels.dtype == np.int64
        assert len(examples.labels) == examples.num_examples
        assert min(np.bincount(examples.labels)) >= 0.09 * examples.num_examples


def test_pixels_are_all_the_original_ones_scaled():
    from sklearn.datasets import load_digits

    digits = task("digits")
    images = np.concatenate([images_of(digits.train), images_of(digits.test)])
    assert images.dtype == np.uint8
    assert images.shape == (1797, 8, 8, 3)
    assert (images == images[..., :1]).all()
    expected = np.round(load_digits().images * 255 / 16)
    assert sorted(map(bytes, images[..., 0])) == sorted(map(bytes, expected.astype(np.uint8)))
    assert images.min() == 0
    assert images.max() == 255


def test_the_split_never_moves():
    digest = hashlib.sha256(images_of(task("digits").test).tobytes()).hexdigest()
    assert digest == "8cde8721d1e8329f5c729ac6a772a77db4bd540e6c92ebd964e3d669eed82d92"


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "bit_keras\[examples\]"'):
        task("digits")

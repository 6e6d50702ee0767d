"""Fashion-MNIST from Debian's package and from TFDS."""

import gzip

import numpy as np
import pytest
from fabricated_tfds import prepare

from bit_keras.data import fashion_mnist
from bit_keras.data.tasks import task


def test_the_package_of_debian():
    """Needs dataset-fashion-mnist, which .ci/run installs."""
    clothes = task("fashion_mnist")
    assert clothes.class_names == fashion_mnist.CLASS_NAMES
    assert (clothes.num_examples, clothes.num_test_examples) == (60_000, 10_000)
    assert clothes.image_size == (28, 28)
    assert (np.bincount(clothes.train.labels) == 6000).all()
    assert (np.bincount(clothes.test.labels) == 1000).all()
    example = next(clothes.test.dataset().as_numpy_iterator())
    assert example["image"].shape == (28, 28, 3)
    # The first test image is an ankle boot.
    assert clothes.class_names[example["label"]] == "Ankle boot"


def test_tfds_gives_the_same_names(monkeypatch, tmp_path):
    monkeypatch.setattr(fashion_mnist, "FOLDER", str(tmp_path / "nothing"))
    prepare("fashion_mnist:3.*.*", tmp_path, {"train": 12, "test": 7})
    clothes = task("fashion_mnist", data_dir=tmp_path)
    assert clothes.class_names == fashion_mnist.CLASS_NAMES
    assert (clothes.num_examples, clothes.num_test_examples) == (12, 7)


def test_neither(monkeypatch, tmp_path):
    def no_network(*args):
        raise ConnectionError("no network")

    monkeypatch.setattr(fashion_mnist, "FOLDER", str(tmp_path))
    monkeypatch.setattr("bit_keras.data.tfds_builder.prepared", no_network)
    with pytest.raises(OSError, match="apt-get install dataset-fashion-mnist"):
        task("fashion_mnist")


def test_a_damaged_file(tmp_path):
    for kind, dimensions in (("images", 3), ("labels", 1)):
        path = tmp_path / f"train-{kind}-idx{dimensions}-ubyte.gz"
        path.write_bytes(gzip.compress(bytes(16)))
    with pytest.raises(ValueError, match="is not a file of Fashion-MNIST"):
        task("fashion_mnist", data_dir=tmp_path)

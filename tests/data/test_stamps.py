"""Tux Paint's stamps."""

import os

import numpy as np
import pytest

from bit_keras.data import stamps
from bit_keras.data.tasks import task


def read_all(examples):
    return [each["image"].tobytes() for each in examples.elements().as_numpy_iterator()]


@pytest.fixture(scope="module")
def stamped():
    """Needs Debian's package tuxpaint-stamps-default, which .ci/run installs."""
    return task("stamps")


def test_description(stamped):
    assert stamped.class_names == tuple(stamps.FOLDERS)
    assert (stamped.num_classes, stamped.image_size) == (10, (64, 64))
    assert stamped.flip
    assert min(np.bincount(stamped.train.labels)) >= 25
    assert min(np.bincount(stamped.test.labels)) >= 8
    assert stamped.location == os.path.realpath(stamps.FOLDER)
    assert not set(read_all(stamped.train)) & set(read_all(stamped.test))


def test_another_load_is_the_same(stamped):
    again = task("stamps", data_dir=stamps.FOLDER)
    assert again.identity == stamped.identity
    assert read_all(again.test) == read_all(stamped.test)


def test_forms_of_a_stamp_are_one_series():
    names = ["bat_left", "bat_right", "Bat2", "bat"]
    assert {stamps.series_name(f"seasonal/{name}.png") for name in names} == {"bat"}


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(stamps, "FOLDER", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt-get install tuxpaint-stamps-default"):
        task("stamps")

"""The drawings inside the package, and the program that makes their file."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bit_keras.data import clipart
from bit_keras.data.series import signature
from bit_keras.data.tasks import task

ROOT = Path(__file__).parents[2]


def images_of(examples):
    return np.stack([example["image"] for example in examples.dataset().as_numpy_iterator()])


def test_description():
    drawings = task("clipart")
    assert (drawings.num_classes, drawings.image_size) == (20, (64, 64))
    assert (drawings.num_examples, drawings.num_test_examples) == (745, 284)
    assert drawings.flip
    assert drawings.random_crop
    assert drawings.class_names[:3] == ("bird", "body part", "building")
    # `--examples_per_class 25` and a test that says something are possible in every class.
    assert min(np.bincount(drawings.train.labels)) >= 25
    assert min(np.bincount(drawings.test.labels)) >= 10
    assert os.path.getsize(Path(clipart.__file__).with_name(clipart.FILE)) < 1_500_000
    assert images_of(drawings.test).dtype == np.uint8


def test_the_pictures_never_change():
    _, sources, images = clipart.read()
    digest = hashlib.sha256("\n".join(sources).encode() + images.tobytes()).hexdigest()
    assert digest == "d37f43ff2dfbf7493e996164fa3ceed160964421be7c05aa73c37c3ca1c785da"


def test_no_picture_is_like_one_of_the_other_side():
    _, sources, images = clipart.read()
    assert len(set(sources)) == len({image.tobytes() for image in images}) == len(sources)
    is_test = np.array([source.startswith("test/") for source in sources])
    signatures = np.stack([signature(Image.fromarray(image)) for image in images])
    assert (signatures[is_test] @ signatures[~is_test].T).max() <= 0.98


def test_no_series_is_on_both_sides():
    sides = {}
    for source in clipart.read()[1]:
        side, name, path = source.split("/", 2)
        # Names that differ in digits at the end only are one series of one author.
        series = name, os.path.dirname(path), Path(path).stem.rstrip("_0123456789")
        sides.setdefault(series, set()).add(side)
    assert all(len(each) == 1 for each in sides.values())


@pytest.mark.slow
def test_the_program_makes_the_same_file(tmp_path):
    """Needs Debian's package openclipart-png, which .ci/run installs."""
    program = ROOT / "examples/upstream/clipart.py"
    output = tmp_path / "clipart.npz"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, program, "--output", output], check=True, env=environment)
    with np.load(output) as made, np.load(ROOT / "bit_keras/data/clipart.npz") as shipped:
        assert sorted(made) == sorted(shipped)
        for key in made:
            np.testing.assert_array_equal(made[key], shipped[key])

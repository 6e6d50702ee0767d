"""Letters of the installed fonts."""

import numpy as np
import pytest

from bit_keras.data import letters
from bit_keras.data.tasks import task


@pytest.fixture(scope="module")
def drawn():
    """Needs Debian's packages of fonts, which .ci/run installs."""
    return task("letters")


def test_description(drawn):
    assert drawn.class_names == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert drawn.image_size == (64, 64)
    assert not drawn.flip
    assert not drawn.random_crop
    for examples, least in ((drawn.train, 25), (drawn.test, 10)):
        counts = np.bincount(examples.labels)
        assert len(set(counts)) == 1
        assert counts[0] >= least
    example = next(drawn.test.dataset().as_numpy_iterator())
    assert example["image"].shape == (64, 64, 3)
    assert (example["image"].min(), example["image"].max()) == (0, 255)


def test_another_load_is_the_same(drawn):
    again = task("letters")
    assert again.identity == drawn.identity
    for one, other in zip(
        drawn.test.elements().take(50).as_numpy_iterator(),
        again.test.elements().take(50).as_numpy_iterator(),
        strict=True,
    ):
        np.testing.assert_array_equal(one["image"], other["image"])


def test_no_letter_of_the_test_was_trained_on(drawn):
    sides = [
        {(int(each["label"]), each["image"].tobytes()) for each in split.as_numpy_iterator()}
        for split in (drawn.train.elements(), drawn.test.elements())
    ]
    assert not sides[0] & sides[1]


def test_fonts_of_symbols_are_left_out():
    _, families = letters._draw_all(letters.Path(letters.FOLDER))
    assert not {"D050000L", "Standard Symbols PS", "Noto Sans Symbols2"} & set(families.values())
    assert {"DejaVu Sans", "Noto Sans", "Noto Serif"} <= set(families.values())


def test_without_fonts(tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    with pytest.raises(FileNotFoundError, match="apt-get install fonts-noto-core"):
        task("letters", data_dir=tmp_path)

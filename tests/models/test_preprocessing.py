"""Pixels to the network's range, and what is none."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bit_keras import preprocess_input
from bit_keras.models.preprocessing import _warn_once


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_the_range_and_the_formula(dtype):
    pixels = np.arange(256).astype(dtype)
    x = preprocess_input(pixels)
    assert isinstance(x, np.ndarray)
    assert x.dtype == "float32"
    assert (x[0], x[255]) == (-1, 1)
    np.testing.assert_allclose(x, pixels.astype("float64") / 127.5 - 1, atol=1e-7)


def test_tensors_and_graphs():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype("uint8")
    expected = preprocess_input(pixels)
    x = preprocess_input(keras.ops.convert_to_tensor(pixels))
    assert not isinstance(x, np.ndarray)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(x), expected)
    inputs = keras.Input((4, 5, 3), dtype="uint8")
    model = keras.Model(inputs, preprocess_input(inputs))
    np.testing.assert_array_equal(model(pixels), expected)
    assert preprocess_input([[0, 255]]).shape == (1, 2)


def test_the_input_is_left_alone():
    pixels = np.full((2, 2, 3), 7.0, "float32")
    preprocess_input(pixels)
    assert (pixels == 7).all()


@pytest.fixture(autouse=True)
def _warned_of_nothing():
    _warn_once.cache_clear()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (Image.new("RGBA", (4, 4)), r"PIL image of mode 'RGBA'.*np\.asarray"),
        ([Image.new("L", (4, 4))], "PIL image of mode 'L'"),
        ("cat.jpg", r"got 'cat\.jpg'.*load_img"),
        (Path("cat.jpg"), "load_img"),
        (tf.data.Dataset.range(3), r"dataset\.map"),
    ],
)
def test_what_is_no_pixels(images, message):
    with pytest.raises(TypeError, match=message):
        preprocess_input(images)


def test_images_of_different_shapes():
    with pytest.raises(ValueError, match=r"different shapes: \[\(4, 4, 3\), \(5, 4, 3\)\]"):
        preprocess_input([np.zeros((4, 4, 3)), np.zeros((5, 4, 3))])


UNIT = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize("kind", [np.asarray, keras.ops.convert_to_tensor])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (UNIT, r"scaled to \[0, 1\]"),
        (UNIT * 2 - 1, "preprocessed already"),
        (UNIT * 0.1 - 1, "preprocessed already"),
        (UNIT * 255 - 120, "preprocessed already"),
        ((UNIT * 65535).astype("uint16"), r"far above 255: divide 16-bit images.*by 257"),
        ((UNIT * 65535).astype("int32"), "far above 255"),
        (UNIT * 65535, "far above 255"),
    ],
)
def test_another_range_is_warned_of_once(kind, images, message):
    with pytest.warns(UserWarning, match=message) as caught:
        preprocess_input(kind(images))
    assert caught[0].filename == __file__
    preprocess_input(kind(images))  # a second warning would be an error


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((4, 4, 3), "float32"),
        np.ones((4, 4, 3), "uint8"),
        np.ones((4, 4, 3), "float32"),
        UNIT * 255,
        np.zeros((0, 4, 4, 3), "float32"),
        keras.ops.image.resize(np.eye(9)[..., None] * 255.0, (31, 31), "bicubic"),
    ],
)
def test_pixels_are_not_warned_of(images):
    preprocess_input(images)


def test_a_list_of_16_bit_images_and_a_graph_of_them_are_warned_of():
    image = np.full((2, 2, 3), 40_000, "uint16")
    with pytest.warns(UserWarning, match="far above 255"):
        preprocess_input([image // 200, image])
    with pytest.warns(UserWarning, match="is uint16"):
        tf.data.Dataset.from_tensors(image).map(preprocess_input)


def test_a_lambda_of_it_is_loaded_from_a_file(tmp_path):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Lambda(preprocess_input)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (keras.ops.convert_to_numpy(loaded(np.full((1, 4, 4, 3), 255.0))) == 1).all()


def test_tensors_without_values_are_not_looked_at():
    unit = tf.data.Dataset.from_tensors(UNIT).map(preprocess_input)
    np.testing.assert_array_equal(next(iter(unit)), (UNIT - 127.5) / 127.5)
    tf.function(preprocess_input, jit_compile=True)(UNIT)

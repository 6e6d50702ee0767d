"""Pixels to the network's range."""

import keras
import numpy as np
import pytest

from bit_keras import preprocess_input


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

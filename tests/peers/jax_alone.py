"""The core with keras, numpy and jax installed, and nothing else: no tensorflow anywhere.

    KERAS_BACKEND=jax pytest --noconftest tests/peers/jax_alone.py

in an environment of its own, as in .ci/run. Without the prefix test_, so that it is run only where
it is named.
"""

import importlib.util

import jax
import keras
import numpy as np
import pytest
from networks import images, randomize, tiny
from reference import relative_error, resnet_v2

import bit_keras


def test_there_is_no_tensorflow():
    assert keras.backend.backend() == "jax"
    assert importlib.util.find_spec("tensorflow") is None


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.npz"
    bit_keras.save_npz(randomize(tiny()), path)
    return path


def test_endpoints_are_those_of_the_reference(weights):
    model = tiny()
    bit_keras.load_npz(model, weights)
    x = images(1, 97, 131, 3)
    with np.load(weights) as arrays:
        expected = resnet_v2(dict(arrays), x, depths=(1, 1, 1, 1))
    for name, value in keras.Function(model.input, model.endpoints)(x).items():
        assert relative_error(value, expected[name]) < 1e-4, name
    assert relative_error(model.predict(x, verbose=0), expected["logits"]) < 1e-4


def test_fit_save_and_load(tmp_path):
    # Bright or dark, which any network can tell.
    labels = np.arange(64) % 2
    noise = np.random.default_rng(0).uniform(0, 100, (64, 32, 32, 3))
    x = bit_keras.preprocess_input(noise + 155 * labels[:, None, None, None])
    model = tiny(classes=2)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    before = model.evaluate(x, labels, verbose=0)[0]
    model.fit(x, labels, batch_size=8, verbose=0)
    after, accuracy = model.evaluate(x, labels, verbose=0)
    assert after < 0.5 * before
    assert accuracy > 0.9
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x[:4], verbose=0), model.predict(x[:4], verbose=0))


def test_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("uint8")
    expected = bit_keras.preprocess_input(pixels)
    compiled = jax.jit(bit_keras.preprocess_input)(pixels)
    np.testing.assert_allclose(compiled, expected, atol=1e-7)
    unit = keras.ops.convert_to_tensor(pixels / 255, "float32")
    jax.jit(bit_keras.preprocess_input)(unit)  # no values while it is traced: no warning
    with pytest.warns(UserWarning, match=r"scaled to \[0, 1\]"):
        bit_keras.preprocess_input(unit)
    for method in (tiny(), tiny().predict):
        with pytest.raises(ValueError, match="got uint8 images"):
            method(pixels)

"""An export in Keras 3: what HubLayer trains is what the exported model trains.

`test_hub_keras_layer.py` holds tf_keras to the same.
"""

import keras
import numpy as np
import pytest
from networks import randomize, tiny
from reference import relative_error

import bit_keras

# So small that what float32 rounds does not grow: at 0.001 a ReLU that opens in one of the two and
# not in the other makes them part by 3e-4 in the last of the steps; here it is 2e-7.
LEARNING_RATE = 0.0003
STEPS, BATCH, CLASSES = 20, 4, 3


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = randomize(tiny(classes=CLASSES, kernel_regularizer=keras.regularizers.L2(1e-3)))
    path = tmp_path_factory.mktemp("exported") / "module"
    bit_keras.export_saved_model(model, path)
    return model, path


def train(model, low, high):
    """Trains on images in [low, high], the same ones but for the range."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (STEPS * BATCH, 32, 40, 3)).astype("float32")
    labels = rng.integers(0, CLASSES, STEPS * BATCH)
    model.compile(
        keras.optimizers.SGD(LEARNING_RATE, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(low + (high - low) * images, labels, batch_size=BATCH, shuffle=False, verbose=0)


@pytest.mark.slow
def test_a_frozen_layer_does_not_train(exported):
    model, path = exported
    layer = bit_keras.HubLayer(path, trainable=False)
    train(keras.Sequential([layer, keras.layers.Dense(CLASSES)]), 0, 1)
    for value, variable in zip(layer.get_weights(), model.weights, strict=True):
        np.testing.assert_array_equal(value, variable)


@pytest.mark.slow
def test_twenty_steps_are_those_of_the_model(exported):
    model, path = exported
    before = model.get_weights()
    layer = bit_keras.HubLayer(path)
    train(keras.Sequential([layer]), 0, 1)
    train(model, -1, 1)
    for value, variable, old in zip(layer.get_weights(), model.weights, before, strict=True):
        assert relative_error(value, variable.numpy()) < 1e-5, variable.path
        assert relative_error(old, variable.numpy()) > 1e-4, variable.path


@pytest.mark.slow
def test_an_export_of_constants_offers_nothing_to_train(tmp_path):
    bit_keras.export_saved_model(randomize(tiny()), tmp_path / "frozen", freeze=True)
    with pytest.warns(UserWarning, match="has no trainable variable"):
        bit_keras.HubLayer(tmp_path / "frozen")

"""The form for OpenVINO: the same numbers, and one operation of OpenVINO a norm."""

import keras
import numpy as np
import pytest
from networks import images, randomize, tiny
from reference import relative_error

from bit_keras.exporters.convert import convert
from bit_keras.exporters.engines import library
from bit_keras.exporters.normalization_in_rows import with_normalization_in_rows
from bit_keras.layers.group_normalization import GroupNormalization


def test_the_networks_numbers():
    network = randomize(tiny())
    batch = images(2, 45, 70, 3)
    copy = with_normalization_in_rows(network)
    assert relative_error(copy.predict_on_batch(batch), network.predict_on_batch(batch)) < 1e-5


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((8,), {}),
        ((5, 8), {"scale": False}),
        ((3, 4, 8), {"center": False}),
        ((8, 3, 4), {"axis": 1}),
        ((2, 3, 4, 8), {"activation": "relu", "epsilon": 0.1}),
    ],
)
def test_a_layer_of_any_shape(shape, arguments):
    inputs = keras.Input(shape)
    network = keras.Model(inputs, GroupNormalization(4, **arguments)(inputs))
    randomize(network)
    # A mean far above the deviation, which must cost no digits.
    batch = 100 + np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    copy = with_normalization_in_rows(network)
    assert relative_error(copy.predict_on_batch(batch), network.predict_on_batch(batch)) < 1e-5


def test_a_network_inside_another_and_layers_of_others():
    inputs = keras.Input((40, 40, 3))
    x = tiny(include_top=False)(inputs)
    x = keras.layers.GroupNormalization(4)(x)
    network = randomize(keras.Model(inputs, keras.layers.Dense(5)(x)))
    batch = images(2, 40, 40, 3)
    copy = with_normalization_in_rows(network)
    assert relative_error(copy.predict_on_batch(batch), network.predict_on_batch(batch)) < 1e-5
    assert type(copy.layers[-2]) is keras.layers.GroupNormalization


@pytest.mark.peer
def test_openvino_has_one_operation_a_norm(tmp_path):
    network = randomize(tiny())
    convert(network, tmp_path / "file.xml", "openvino")
    operations = library("openvino").Core().read_model(tmp_path / "file.xml").get_ops()
    found = [operation.get_type_name() for operation in operations]
    norms = [layer for layer in network.layers if isinstance(layer, GroupNormalization)]
    assert found.count("MVN") == len(norms)

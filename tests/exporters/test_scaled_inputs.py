"""Models that scale their images themselves are exported without a second scaling, or refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from marked import slow_except
from networks import images, quick, randomize

import bit_keras
from bit_keras.evaluation.predictions import check_input
from bit_keras.models.pixel_range import pixel_range

layers = keras.layers

BYTES, UNIT, NETWORK = (0, 255), (0, 1), (-1, 1)


def _imagenet():
    """Returns a new layer, because one that is built inside of a model fits into no other model."""
    return layers.Normalization(mean=[123.7, 116.3, 103.5], variance=[3410, 3260, 3290])


def around(network, in_front, **options):
    """Returns a model of a network behind layers, or operations, that are in front of it."""
    inputs = keras.Input((None, None, 3), **options)
    return bit_keras.Model(inputs, network(in_front(inputs)))


@pytest.fixture(scope="module")
def network():
    return randomize(quick())


IN_FRONT = {
    "nothing": (lambda x: x, NETWORK),
    "a Rescaling of bytes": (layers.Rescaling(1 / 127.5, -1), BYTES),
    "a Rescaling by 128": (layers.Rescaling(1 / 128, -1), BYTES),
    "a Rescaling of [0, 1]": (layers.Rescaling(2, -1), UNIT),
    "a Lambda": (layers.Lambda(bit_keras.preprocess_input), BYTES),
    "a call of preprocess_input": (bit_keras.preprocess_input, BYTES),
    "arithmetic": (lambda x: x / 127.5 - 1, BYTES),
    "BGR": (lambda x: (x[..., ::-1] - 127.5) / 127.5, BYTES),
    "a Sequential": (
        keras.Sequential([layers.RandomFlip(), layers.Rescaling(1 / 127.5, -1)]),
        BYTES,
    ),
    "half precision": (layers.Rescaling(1 / 127.5, -1, dtype="mixed_bfloat16"), BYTES),
    "geometry": (layers.Resizing(24, 24), NETWORK),
    "a negative": (layers.Lambda(lambda x: -x), NETWORK),
    "ImageNet's statistics": (lambda x: _imagenet()(x), None),
    "a Rescaling to [0, 1]": (layers.Rescaling(1 / 255), None),
    "two scalings": (lambda x: layers.Rescaling(1 / 127.5, -1)(x / 127.5 - 1), None),
    "standardization": (layers.Lambda(lambda x: x - keras.ops.mean(x, (1, 2, 3), True)), None),
}


@pytest.mark.parametrize("what", IN_FRONT)
def test_the_range_of_a_model_is_found_in_its_layers(what, network):
    in_front, expected = IN_FRONT[what]
    assert pixel_range(around(network, in_front)) == expected


def test_the_range_of_a_nested_and_of_a_flat_model_is_found(network):
    scaling = layers.Rescaling(1 / 127.5, -1)
    inner = around(network, scaling)
    assert pixel_range(around(inner, lambda x: x)) == BYTES
    assert pixel_range(around(inner, layers.Rescaling(255))) == UNIT
    inputs = keras.Input((16, 16, 3))
    flat = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(scaling(inputs))))
    assert pixel_range(flat) == BYTES
    assert pixel_range(keras.Sequential([inputs, scaling, network])) == BYTES


# The export of a model and the model itself, both on images in the given range.
@pytest.mark.parametrize("what", ["a Rescaling of bytes", "a Lambda", "a Rescaling of [0, 1]"])
@pytest.mark.parametrize("freeze", slow_except([False], [False, True]))
def test_an_export_scales_once(what, freeze, network, tmp_path):
    in_front, (low, high) = IN_FRONT[what]
    model = around(network, in_front)
    x = images(2, 40, 40, 3)
    expected = model.predict_on_batch((x + 1) / 2 * (high - low) + low)
    for input_range in (UNIT, BYTES):
        bit_keras.export_saved_model(
            model, tmp_path / "module", input_range, freeze=freeze, overwrite=True
        )
        module = tf.saved_model.load(tmp_path / "module")
        given = tf.constant((x + 1) / 2 * (input_range[1] - input_range[0]) + input_range[0])
        for logits in (module(given), module.signatures["serving_default"](given)["logits"]):
            np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_statistics_in_front_need_the_range_of_the_model(network, tmp_path):
    model = around(network, _imagenet())
    with pytest.raises(ValueError, match=r"change the values of pixels.*Pass model_range="):
        bit_keras.export_saved_model(model, tmp_path / "module", BYTES)
    with pytest.raises(ValueError, match=r"model_range=\(255, 0\): expected"):
        bit_keras.export_saved_model(model, tmp_path / "module", BYTES, model_range=(255, 0))
    bit_keras.export_saved_model(model, tmp_path / "module", UNIT, model_range=BYTES)
    x = (images(2, 40, 40, 3) + 1) / 2
    np.testing.assert_allclose(
        tf.saved_model.load(tmp_path / "module")(x), model.predict_on_batch(255 * x), rtol=1e-3
    )
    bit_keras.check_export(model, tmp_path / "module", UNIT, model_range=BYTES)


def test_evaluation_and_training_refuse_a_model_of_bytes(network):
    for in_front, options in (
        (IN_FRONT["a Lambda"][0], {}),
        (bit_keras.preprocess_input, {"dtype": "uint8"}),
    ):
        with pytest.raises(ValueError, match=r"images from 0 to 255 itself; the probe needs it"):
            check_input(around(network, in_front, **options), 32, "the probe needs")


# What stands in front of the network, and whether images in [-1, 1] may be what the model takes.
_TORCH = layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.0524, 0.0502, 0.0506])
UNUSUAL = {
    "statistics of bytes": (lambda x: _imagenet()(x), False),
    "statistics of [0, 1]": (_TORCH, False),
    "statistics of [-1, 1]": (layers.Normalization(mean=[0.1] * 3, variance=[0.3] * 3), True),
    "bytes to [0, 1]": (layers.Rescaling(1 / 255), False),
    "two scalings": (lambda x: layers.Rescaling(1 / 127.5, -1)(x / 127.5 - 1), False),
    "Caffe": (lambda x: x[..., ::-1] - np.float32([103.9, 116.8, 123.7]), False),
    "to bytes": (layers.Rescaling(127.5, 127.5), True),
    "to [0, 1]": (layers.Rescaling(0.5, 0.5), True),
    "to bytes, then Caffe": (lambda x: 127.5 * x + 127.5 - np.float32([104, 117, 124]), True),
    "to bytes, then statistics": (lambda x: _imagenet()(layers.Rescaling(127.5, 127.5)(x)), True),
    "less contrast": (lambda x: 0.8 * x, True),
    "standardization of each image": (IN_FRONT["standardization"][0], True),
    "trained batch normalization": (
        lambda x: layers.BatchNormalization(moving_mean_initializer=keras.initializers.Constant(2))(
            layers.Rescaling(1.5)(x)
        ),
        True,
    ),
    "trained convolution": (lambda x: layers.Conv2D(3, 3)(x), True),
    "augmentation": (layers.RandomFlip(), True),
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_evaluation_and_training_take_what_fits_the_images_of_the_network(what, network):
    in_front, is_taken = UNUSUAL[what]
    model = around(network, in_front)
    if is_taken:
        check_input(model, 32, "the probe needs")
    else:
        with pytest.raises(ValueError, match=r"do not fit images in \[-1, 1\]; the probe needs it"):
            check_input(model, 32, "the probe needs")


class Subclass(keras.Model):
    """A model that is not functional, with layers that it calls in turn."""

    def __init__(self, *called):
        super().__init__()
        self.called = called

    def call(self, x):
        for layer in self.called:
            x = layer(x)
        return x


class SubclassedLayer(layers.Layer):
    """A layer that is made of layers."""

    def __init__(self, *called):
        super().__init__()
        self.called = list(called)

    def call(self, x):
        for layer in self.called:
            x = layer(x)
        return x


@pytest.mark.parametrize("cls", [Subclass, SubclassedLayer])
def test_a_scaling_inside_of_a_model_that_is_not_functional_is_not_trusted(cls, network, tmp_path):
    for called, is_taken in (
        ((layers.Rescaling(1 / 127.5, -1), network), False),
        ((keras.Sequential([_imagenet()]), network), False),
        ((network,), True),
    ):
        opaque = cls(*called)
        model = around(opaque, lambda x: x)
        assert pixel_range(model) is None
        with pytest.raises(ValueError, match="Pass model_range="):
            bit_keras.export_saved_model(model, tmp_path / "module")
        # The layer in front is found, and the model behind it may be what a user trained.
        if is_taken:
            check_input(model, 32, "the probe needs")
        else:
            with pytest.raises(ValueError, match="do not fit images"):
                check_input(model, 32, "the probe needs")

"""The network with batch normalization, and without weight standardization."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from networks import TINY, images, randomize, tiny
from reference import relative_error

import bit_keras
from bit_keras.models.resnet import BATCH_EPSILON, BATCH_MOMENTUM

numpy = keras.ops.convert_to_numpy

OTHERS = [
    {"normalization": "group", "standardize": False},
    {"normalization": "batch", "standardize": True},
    {"normalization": "batch", "standardize": False},
]
other_networks = pytest.mark.parametrize(
    "arguments", OTHERS, ids=lambda arguments: "-".join(map(str, arguments.values()))
)


def batch_norm(x, gamma, beta):
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / np.sqrt(variance + BATCH_EPSILON) * gamma + beta


def official_arrays(model, path):
    """The weights that are trained, by their keys in the file of a network that has one."""
    twin = tiny()
    for variable, trained in zip(twin.weights, model.trainable_weights, strict=True):
        variable.assign(trained)
    bit_keras.save_npz(twin, path)
    with np.load(path) as archive:
        return dict(archive)


def batch_norms(model):
    layers = model.layers
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


@other_networks
def test_a_training_pass_equals_the_reference(arguments, monkeypatch, tmp_path):
    if arguments["normalization"] == "batch":
        monkeypatch.setattr(reference, "group_norm", batch_norm)
    if not arguments["standardize"]:
        monkeypatch.setattr(reference, "standardize", lambda kernel: kernel)
    model = randomize(tiny(**arguments))
    x = images(4, 64, 96, 3)
    arrays = official_arrays(model, tmp_path / "weights.npz")
    expected = reference.resnet_v2(arrays, x, TINY["depths"])
    everything = keras.Model(model.input, model.endpoints)(x, training=True)
    assert everything.keys() == expected.keys()
    for name, value in everything.items():
        assert relative_error(numpy(value), expected[name]) < 1e-4, name


def test_inference_takes_the_statistics_of_training():
    model = randomize(tiny(normalization="batch"))
    assert len(batch_norms(model)) == 13
    for layer in batch_norms(model):
        assert (layer.momentum, layer.epsilon) == (BATCH_MOMENTUM, BATCH_EPSILON)
        layer.momentum = 0  # what it saw last
    x = images(4, 64, 96, 3)
    trained = numpy(model(x, training=True))
    # Keras gives the biased variance to inference too, so that both are the same.
    assert relative_error(numpy(model(x)), trained) < 1e-5
    assert relative_error(numpy(model(x[:1])), trained[:1]) < 1e-5
    assert relative_error(numpy(model(x[:1], training=True)), trained[:1]) > 0.1


def test_keras_applications_has_the_same_constants():
    theirs = keras.applications.ResNet50V2(weights=None, include_top=False).get_layer("post_bn")
    assert (theirs.momentum, theirs.epsilon) == (BATCH_MOMENTUM, BATCH_EPSILON)


def test_the_default_is_the_network_of_big_transfer():
    config = tiny().get_config()
    assert (config["normalization"], config["standardize"]) == ("group", True)
    before = {key: value for key, value in config.items() if key not in OTHERS[0]}
    assert bit_keras.ResNetV2.from_config(before).get_config() == config


@other_networks
def test_it_is_saved_frozen_and_trained_as_others_are(arguments, tmp_path):
    model = tiny(**arguments)
    model.freeze("block2")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss=loss, jit_compile=False)
    before = [numpy(variable) for variable in model.variables]
    model.fit(images(4, 32, 32, 3), np.arange(4), epochs=2, verbose=0)
    frozen = keras.Function(model.input, model.endpoints["block2"]).operations
    moved = {id(v) for v, old in zip(model.variables, before, strict=True) if (old != v).any()}
    assert moved
    for layer in model.layers:
        for variable in layer.variables:
            assert (id(variable) in moved) <= (layer not in frozen), variable.path
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert loaded.get_config() == model.get_config()
    x = images(2, 32, 32, 3)
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))


@other_networks
def test_the_official_format_has_no_place_for_it(arguments, tmp_path):
    model, path = tiny(**arguments), tmp_path / "file.npz"
    with pytest.raises(ValueError, match=r"cannot be stored in the official format.*save_weights"):
        bit_keras.save_npz(model, path)
    assert not path.exists()
    bit_keras.save_npz(randomize(tiny()), path)
    before = [numpy(variable) for variable in model.variables]
    with pytest.raises(ValueError, match="cannot be stored in the official format"):
        bit_keras.load_npz(model, path)
    for variable, old in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(numpy(variable), old)


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [True, False])
def test_export_gives_the_same_numbers(freeze, tmp_path):
    model = randomize(tiny(normalization="batch"))
    for layer in batch_norms(model):
        layer.momentum = 0.5
    x = images(4, 32, 32, 3)
    for _ in range(10):  # away from the random statistics
        model(x, training=True)
    bit_keras.export_saved_model(model, tmp_path / "module", input_range=(-1, 1), freeze=freeze)
    module = tf.saved_model.load(str(tmp_path / "module"))
    expected = numpy(model(x))
    assert relative_error(module(x, training=False).numpy(), expected) < 1e-4
    in_training = relative_error(module(x[:1], training=True).numpy(), expected[:1])
    assert (in_training < 1e-4) == freeze


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_dtype_policies(policy):
    model = tiny(normalization="batch", standardize=False, dtype=policy)
    assert model(images(2, 32, 32, 3)).dtype == ("float64" if policy == "float64" else "float32")
    assert model.endpoints["block4"].dtype == policy.removeprefix("mixed_")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"normalization": "layer"}, r"normalization='layer': expected 'group'"),
        ({"normalization": None}, r"normalization=None: expected 'group'"),
        ({"standardize": "no"}, r"standardize='no': expected True"),
        ({"standardize": 1}, r"standardize=1: expected True"),
    ],
)
def test_other_values_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny(**arguments)

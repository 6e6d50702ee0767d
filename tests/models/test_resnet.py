"""The network: against the float64 reference, and as a Keras model among others."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from marked import slow_except
from networks import TINY, images, randomize, tiny
from reference import relative_error, resnet_v2

import bit_keras

numpy = keras.ops.convert_to_numpy


@pytest.fixture(scope="module")
def r50x1(tmp_path_factory):
    """An R50x1 loaded from a fabricated file, and the file's arrays."""
    path = tmp_path_factory.mktemp("weights") / "R50x1.npz"
    bit_keras.save_npz(randomize(bit_keras.create("BiT-S-R50x1", classes=37)), path)
    with np.load(path) as archive:
        arrays = dict(archive)
    return bit_keras.create("BiT-S-R50x1", pretrained=path), arrays


@pytest.mark.parametrize("size", slow_except([(97, 131)], [(224, 224), (97, 131), (64, 320)]))
def test_r50x1_equals_the_reference(r50x1, size):
    model, arrays = r50x1
    x = images(1, *size, 3)
    expected = resnet_v2(arrays, x)
    everything = keras.Function(model.input, model.endpoints)(x)
    assert everything.keys() == expected.keys()
    for name, value in everything.items():
        assert relative_error(numpy(value), expected[name]) < 1e-4, name
    assert relative_error(model.predict(x, verbose=0), expected["logits"]) < 1e-4


@pytest.mark.parametrize("size", [(1, 1), (2, 33), (31, 64)])
def test_small_and_odd_images(size):
    model = randomize(tiny())
    keys = {weight.path: weight for weight in model.weights}
    assert len(keys) == len(model.weights)
    y = numpy(model(images(3, *size, 3)))
    assert y.shape == (3, 10)
    assert np.isfinite(y).all()


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_constant_images_give_finite_logits(value):
    y = randomize(tiny())(np.full((1, 32, 32, 3), value, "float32"))
    assert np.isfinite(numpy(y)).all()


@pytest.mark.parametrize(
    ("policy", "body"),
    [("float32", "float32"), ("mixed_bfloat16", "bfloat16"), ("mixed_float16", "float16")],
)
def test_logits_and_features_are_float32_under_every_policy(policy, body):
    model = randomize(tiny(dtype=policy))
    assert model.endpoints["block4"].dtype == body
    assert model.dtype_policy.name == policy
    x = images(2, 48, 48, 3)
    logits = model(x)
    assert logits.dtype == model.endpoints["features"].dtype == "float32"
    assert relative_error(numpy(logits), numpy(randomize(tiny())(x))) < 5e-2


def test_outputs_without_a_top():
    x = images(2, 64, 96, 3)
    pooled, flat = tiny(include_top=False), tiny(include_top=False, pooling=None)
    assert pooled(x).shape == (2, 1024)
    assert flat(x).shape == (2, 2, 3, 1024)
    assert "logits" not in pooled.endpoints
    assert flat.endpoints["features"].shape == (None, 1024)
    both = bit_keras.Model(flat.input, [flat.output, flat.endpoints["features"]])
    feature_map, features = both(x)
    assert relative_error(numpy(feature_map).mean((1, 2)), numpy(features)) < 1e-5


def test_a_new_head_is_zero_and_so_are_the_logits():
    assert not numpy(tiny()(images(2, 32, 32, 3))).any()


@pytest.mark.parametrize("normalization", ["group", "batch"])
def test_pyramid_of_strides_4_to_32(normalization):
    model = randomize(tiny(normalization=normalization))
    pyramid = keras.Function(model.input, model.pyramid_outputs)(images(1, 64, 128, 3))
    sizes = {level: tuple(map(int, x.shape[1:3])) for level, x in pyramid.items()}
    assert sizes == {"P2": (16, 32), "P3": (8, 16), "P4": (4, 8), "P5": (2, 4)}
    for level, name in model.pyramid_level_inputs.items():
        assert model.get_layer(name).output is model.pyramid_outputs[level]


def test_pyramid_is_the_blocks_after_the_next_normalization():
    model = tiny(depths=(2, 1, 3, 1))
    for level, name in model.pyramid_level_inputs.items():
        norm, block = model.get_layer(name), f"block{int(level[1]) - 1}"
        assert isinstance(norm, bit_keras.GroupNormalization)
        assert norm.input is model.endpoints[block]
    assert model.pyramid_outputs["P5"] is model.endpoints["pre_head"]


def test_units_between_boundaries_are_the_network():
    model = randomize(bit_keras.ResNetV2(depths=(2, 1, 3, 1), width=0.5, classes=3))
    x = images(2, 64, 64, 3)
    assert len(model.unit_boundaries) == 1 + 2 + 1 + 3 + 1
    y = keras.Function(model.input, model.unit_boundaries[0])(x)
    for start, end in zip(model.unit_boundaries, model.unit_boundaries[1:], strict=False):
        y = keras.Function(start, end)(y)
    y = keras.Function(model.unit_boundaries[-1], model.output)(y)
    assert relative_error(numpy(y), numpy(model(x))) < 1e-6


def saved_and_loaded(model, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    return keras.models.load_model(path)


def test_keras_file_round_trip(tmp_path):
    model = randomize(
        tiny(
            input_shape=(None, 48, 3),
            classifier_activation="softmax",
            kernel_regularizer=keras.regularizers.L2(1e-4),
            dtype="mixed_bfloat16",
            name="mine",
        )
    )
    loaded = saved_and_loaded(model, tmp_path)
    assert type(loaded) is bit_keras.ResNetV2
    assert loaded.get_config() == model.get_config()
    assert loaded.endpoints.keys() == model.endpoints.keys()
    assert len(loaded.losses) == len(model.losses) == 18
    x = images(2, 32, 48, 3)
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))


def test_a_model_can_be_made_again_from_its_configuration():
    model = tiny(include_top=False, pooling=None)
    again = bit_keras.ResNetV2.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert again.output_shape == model.output_shape


@pytest.mark.parametrize("up_to", ["root", "block1", "block3", "pre_head", "features", "logits"])
def test_freeze_up_to_an_endpoint_survives_saving(up_to, tmp_path):
    model = tiny()
    model.freeze("block4")
    model.freeze(up_to)
    before = keras.Function(model.input, model.endpoints[up_to])
    frozen = {id(weight) for op in before.operations for weight in getattr(op, "weights", ())}
    expected = [weight.path for weight in model.weights if id(weight) not in frozen]
    assert [weight.path for weight in model.trainable_weights] == expected
    loaded = saved_and_loaded(model, tmp_path)
    names = [weight.path.split("/", 1)[-1] for weight in loaded.trainable_weights]
    assert names == [path.split("/", 1)[-1] for path in expected]
    loaded.freeze(None)
    assert len(loaded.trainable_weights) == len(loaded.weights)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_frozen_weights_do_not_move(policy):
    model = randomize(tiny(dtype=policy))
    model.freeze("block2")
    before = [numpy(weight.value) for weight in model.weights]
    trainable = [weight.trainable for weight in model.weights]
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(True))
    model.fit(images(4, 32, 32, 3), np.arange(4), verbose=0)
    moved = [
        bool((numpy(weight.value) != old).any())
        for weight, old in zip(model.weights, before, strict=True)
    ]
    assert moved == trainable


def test_a_model_frozen_whole_stays_so(tmp_path):
    model = tiny()
    model.trainable = False
    loaded = saved_and_loaded(model, tmp_path)
    assert not loaded.trainable_weights
    loaded.trainable = True
    assert len(loaded.trainable_weights) == len(loaded.weights)


def test_freeze_names_the_endpoints():
    with pytest.raises(ValueError, match=r"'block5'.*root, block1"):
        tiny().freeze("block5")


def test_as_a_layer_of_another_model(tmp_path):
    backbone = randomize(tiny(include_top=False))
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(2)(backbone(keras.layers.Rescaling(0.5)(inputs)))
    model = bit_keras.Model(inputs, outputs)
    backbone.freeze("block4")
    loaded = saved_and_loaded(model, tmp_path)
    x = images(2, 32, 32, 3)
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))
    inner = loaded.get_layer(backbone.name)
    assert type(inner) is bit_keras.ResNetV2
    assert len(loaded.trainable_weights) == len(model.trainable_weights) == 4


def test_input_tensor(tmp_path):
    inputs = keras.Input((None, None, 3))
    model = randomize(tiny(input_tensor=inputs))
    assert model.input is inputs
    x = images(2, 32, 32, 3)
    np.testing.assert_array_equal(numpy(saved_and_loaded(model, tmp_path)(x)), numpy(model(x)))


def test_input_tensor_of_another_layer(tmp_path):
    inputs = keras.Input((None, None, 3))
    model = randomize(tiny(input_tensor=keras.layers.Rescaling(0.5)(inputs)))
    x = images(2, 32, 32, 3)
    assert model.input is inputs
    assert relative_error(numpy(model(x)), numpy(randomize(tiny())(x / 2))) < 1e-6
    with pytest.raises(ValueError, match=r"bit_keras\.Model\(model\.input, model\.output\)"):
        model.save(tmp_path / "model.keras")
    wrapped = bit_keras.Model(model.input, model.output)
    np.testing.assert_array_equal(numpy(saved_and_loaded(wrapped, tmp_path)(x)), numpy(model(x)))


def test_it_is_a_tf_keras_model():
    assert isinstance(tiny(), tf.keras.Model)
    assert isinstance(tiny(), bit_keras.Model)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels(channels):
    assert tiny(input_shape=(32, 32, channels)).input_shape == (None, 32, 32, channels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 0}, "classes=0: expected the size of the head"),
        ({"classes": None}, "classes=None"),
        ({"classes": 2.5}, "classes=2.5"),
        ({"classes": True}, "classes=True"),
        ({"depths": (1, 1, 1)}, "depths="),
        ({"depths": 50}, "depths=50"),
        ({"depths": (1, 0, 1, 1)}, "depths="),
        ({"depths": (1, 10**6, 1, 1)}, "expected at most 1000 units in a block"),
        ({"depths": (10**30, 1, 1, 1)}, "expected at most 1000 units"),
        ({"width": 10**6}, "GiB for the weights, and this machine has"),
        ({"width": np.float32(1e30)}, "GiB for the weights"),
        ({"classes": 10**12}, "GiB for the weights"),
        ({"input_shape": (None, None, 10**10)}, "GiB for the weights"),
        ({"width": 0.25}, "multiple of the 32 groups"),
        ({"width": -1}, "width=-1"),
        ({"width": "1"}, "width='1'"),
        ({"pooling": "max"}, "pooling='max'"),
        ({"pooling": ["avg"]}, "pooling="),
        ({"input_shape": None}, "expected \\(height, width, channels\\)"),
        ({"input_shape": (3, 224, 224)}, "looks like channels_first"),
        ({"input_shape": (224, 224)}, "expected \\(height, width, channels\\)"),
        ({"input_shape": (224, 224, None)}, "number of channels must be given"),
        ({"input_shape": (0, 224, 3)}, "input_shape="),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        bit_keras.ResNetV2(**{**TINY, **arguments})


def test_channels_first_is_refused():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="channels_last"):
            tiny()
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (lambda: np.zeros((1, 32, 32, 3)), "input_tensor is a ndarray"),
        (lambda: "images", "input_tensor is a str"),
        (lambda: keras.Input((32, 32, 3), dtype="uint8"), "has dtype uint8"),
        (lambda: keras.Input((32, 32)), "expected \\(height, width, channels\\)"),
        (lambda: keras.Input((8, 8, 3)) + keras.Input((8, 8, 3)), "computed from 2 inputs"),
    ],
)
def test_an_input_tensor_that_cannot_be(tensor, message):
    with pytest.raises(ValueError, match=message):
        tiny(input_tensor=tensor())


def test_freeze_leaves_the_layers_before_the_network_alone():
    before = keras.layers.Conv2D(3, 1)
    model = tiny(input_tensor=before(keras.Input((32, 32, 3))))
    model.freeze("root")
    assert before.trainable
    before.trainable = False
    model.freeze(None)
    assert not before.trainable
    assert model.get_layer("root_block_standardized_conv2d").trainable


def test_numpy_numbers_are_numbers(tmp_path):
    model = bit_keras.ResNetV2(
        depths=np.array([1, 1, 1, 1]),
        width=np.float32(0.5),
        classes=np.int64(4),
        input_shape=(np.int64(32), None, 3),
    )
    assert json.loads(json.dumps(model.get_config())) == model.get_config()
    assert saved_and_loaded(model, tmp_path).output_shape == (None, 4)

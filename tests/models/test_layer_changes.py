"""A loaded network computes what the saved one does, whatever was changed on its layers."""

import random

import keras
import numpy as np
import pytest
from networks import images, randomize, tiny

import bit_keras
from bit_keras.models.layer_changes import LayerMaker, later_changes, with_later_changes

numpy = keras.ops.convert_to_numpy


@keras.saving.register_keras_serializable(package="tests")
class EveryLayer(bit_keras.Model):
    """A small network of each kind of layer that a `ResNetV2` has."""

    def __init__(self, name="every_layer"):
        maker = LayerMaker()
        source = x = maker.make(keras.layers.InputLayer, shape=(9, 9, 3), name="images").output
        for layer in (
            lambda: maker.make(keras.layers.ZeroPadding2D, 1, name="pad"),
            lambda: maker.make(
                bit_keras.StandardizedConv2D, 8, 3, strides=2, use_bias=False, name="convolution"
            ),
            lambda: maker.make(keras.layers.MaxPooling2D, 2, 1, name="pool"),
            lambda: maker.make(bit_keras.GroupNormalization, 4, activation="relu", name="group"),
            lambda: maker.make(
                keras.layers.Conv2D,
                8,
                1,
                kernel_regularizer=keras.regularizers.L2(0.1),
                name="plain",
            ),
            lambda: maker.make(keras.layers.BatchNormalization, name="batch"),
            lambda: maker.make(keras.layers.ReLU, name="relu"),
            lambda: maker.make(keras.layers.GlobalAveragePooling2D, name="features"),
            lambda: maker.make(keras.layers.Dense, 5, name="head"),
        ):
            x = layer()(x)
        super().__init__(inputs=source, outputs=x, name=name)
        self.layer_maker = maker

    def get_config(self):
        return {"name": self.name, **later_changes(self)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return with_later_changes(cls, config)


@keras.saving.register_keras_serializable(package="tests")
def halved(x):
    return 0.5 * x


L2 = keras.regularizers.L2(0.3)
ACTIVATIONS = [keras.activations.softmax, keras.activations.tanh, halved, lambda x: x, "softmax"]
REGULARIZERS = [L2, keras.regularizers.OrthogonalRegularizer(0.2), None]
CONSTRAINTS = [keras.constraints.NonNeg(), keras.constraints.MaxNorm(0.5), None]

# Values of attributes of layers; a layer has those that its configuration names.
VALUES = {
    "activation": ACTIVATIONS,
    "activity_regularizer": REGULARIZERS,
    "axis": [1, 2, -1],
    "center": [False],
    "data_format": ["channels_first"],
    "dilation_rate": [(1, 1), (2, 2)],
    "dtype_policy": ["mixed_bfloat16", "mixed_float16", "bfloat16", "float64"],
    "epsilon": [0.5, 1e-3, np.float32(0.1)],
    "filters": [4, 8],
    "groups": [1, 2, 8],
    "keepdims": [True],
    "kernel_size": [(1, 1), (5, 5)],
    "max_value": [0.25],
    "momentum": [0.5],
    "name": ["another_name"],
    "negative_slope": [0.5],
    "padding": ["same", "valid", ((2, 2), (0, 1))],
    "pool_size": [(3, 3)],
    "scale": [False],
    "strides": [(1, 1), (2, 1)],
    "threshold": [0.1],
    "units": [3, 5],
    "use_bias": [True, False],
} | {
    f"{variable}_{setting}": values
    for variable in ("kernel", "bias", "gamma", "beta")
    for setting, values in (
        ("regularizer", REGULARIZERS),
        ("constraint", CONSTRAINTS),
        ("initializer", [keras.initializers.Ones()]),
    )
}


def change_an_attribute(layer, rng):
    names = sorted({*layer.get_config(), "dtype_policy", "activity_regularizer"} & VALUES.keys())
    name = rng.choice(names)
    value = rng.choice(VALUES[name])
    setattr(layer, name, value)
    return f"{layer.name}.{name} = {value}"


def change_a_variable(layer, rng):
    if not layer.weights:
        return change_an_attribute(layer, rng)
    variable = rng.choice(layer.weights)
    name = rng.choice(["regularizer", "constraint", "trainable"])
    values = {"regularizer": REGULARIZERS, "constraint": CONSTRAINTS, "trainable": [False]}
    setattr(variable, name, rng.choice(values[name]))
    return f"{layer.name}.{variable.name}.{name}"


def let_keras_change_it(layer, rng):
    if hasattr(layer, "enable_lora") and rng.random() < 0.5:
        layer.enable_lora(2, lora_alpha=rng.choice([1, 4]))
        return f"{layer.name}.enable_lora"
    if isinstance(layer, keras.layers.Dense):
        layer.quantize(rng.choice(["int8", "int4", "float8"]))
        return f"{layer.name}.quantize"
    layer.trainable = False
    return f"{layer.name}.trainable = False"


CHANGES = [change_an_attribute, change_an_attribute, change_a_variable, let_keras_change_it]


def computed(model):
    """Returns what a network computes on images, or the class of the error that it raises."""
    try:
        output = model(images(2, 9, 9, 3))
        losses = [float(loss) for loss in model.losses]
    except Exception as error:
        return type(error)
    return output.dtype, output.shape, numpy(keras.ops.cast(output, "float64")), losses


def assert_same(loaded, model):
    there, here = computed(loaded), computed(model)
    assert there[:2] == here[:2]
    np.testing.assert_allclose(there[2], here[2], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(there[3], here[3], rtol=1e-5)
    for ours, other in zip(loaded.weights, model.weights, strict=True):
        assert (ours.name, ours.trainable) == (other.name, other.trainable)
        assert type(ours.constraint) is type(other.constraint)


def outcome(model, tmp_path):
    """Returns "refused", "broken" for a network that computes nothing any more, or "same"."""
    path = tmp_path / "model.keras"
    try:
        model.save(path)
    except ValueError as error:
        if "cannot be saved as it is now" not in str(error):
            raise
        return "refused"
    if isinstance(computed(model), type):
        return "broken"
    loaded = keras.models.load_model(path)
    assert_same(loaded, model)
    loaded.save(path)
    assert_same(keras.models.load_model(path), model)
    return "same"


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_random_changes_are_restored_or_saving_is_refused(tmp_path, rounds):
    outcomes = []
    for seed in range(rounds(few=40, full=2000)):
        rng = random.Random(seed)
        model = randomize(EveryLayer(), seed)
        layers = model.layers[1:]
        what = [rng.choice(CHANGES)(rng.choice(layers), rng) for _ in range(rng.choice([1, 1, 2]))]
        try:
            outcomes.append(outcome(model, tmp_path))
        except Exception as error:
            raise AssertionError(f"seed {seed}: {what}") from error
    assert outcomes.count("same") > len(outcomes) / 2
    assert outcomes.count("refused") > 0


def test_what_was_changed_on_a_resnet_is_saved(tmp_path):
    inputs = keras.Input((None, None, 3), batch_size=2, name="pixels")
    model = randomize(tiny(input_tensor=inputs, kernel_regularizer=keras.regularizers.L2(1e-4)))
    head = model.get_layer("head_conv2d")
    head.activation = keras.activations.softmax
    head.kernel.regularizer = L2
    head.name = "my_head"
    model.get_layer("group_norm").epsilon = 0.5
    model.get_layer("block1_unit01_add").activity_regularizer = L2
    model.get_layer("block2_unit01_a_group_norm").name = "first_of_block2"
    # These attributes only say how the network was built, so changing them changes no output.
    model.classifier_activation = keras.activations.relu
    model.dtype_policy = "mixed_bfloat16"
    model.classes = 3

    x = images(2, 32, 32, 3)
    expected = numpy(model(x)), [float(loss) for loss in model.losses]
    for wrap in (lambda network: network, in_another_model):
        saved = wrap(model)
        loaded = saved_and_loaded(saved, tmp_path)
        np.testing.assert_array_equal(numpy(loaded(x)), expected[0])
        np.testing.assert_allclose([float(loss) for loss in loaded.losses], expected[1])
    loaded = saved_and_loaded(model, tmp_path)
    assert loaded.get_config() == model.get_config()
    assert loaded.input.name == "pixels"
    assert loaded.input_shape == (2, None, None, 3)
    assert loaded.layers[-1].name == "my_head"
    assert loaded.pyramid_level_inputs["P2"] == "first_of_block2"
    assert loaded.get_layer("first_of_block2").output is loaded.pyramid_outputs["P2"]


def saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras")


def in_another_model(network):
    inputs = keras.Input(batch_shape=network.input_shape)
    return bit_keras.Model(inputs, network(inputs))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_a_quantized_resnet_is_saved(tmp_path):
    model = randomize(tiny())
    model.quantize("int8")
    x = images(2, 32, 32, 3)
    loaded = saved_and_loaded(model, tmp_path)
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))
    assert loaded.get_layer("head_conv2d").kernel.dtype == "int8"


def test_an_unchanged_resnet_is_saved_as_its_arguments():
    model = tiny(kernel_regularizer=keras.regularizers.L2(1e-4), normalization="batch")
    model.freeze("block2")
    assert model.get_config()["changed_layers"] == {}


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("units", 3, r"Layer 'head_conv2d' cannot be saved.*variables \[\('kernel', \(1024, 3\)"),
        ("activation", "softmax", "Layer 'head_conv2d' cannot be saved as it is now"),
        ("activation", lambda x: x, "Layer 'head_conv2d' cannot be saved.*lambda"),
        ("dtype_policy", "float64", "Layer 'head_conv2d' cannot be saved.*'float64'"),
    ],
)
def test_a_change_that_no_file_can_hold_is_refused(attribute, value, message, tmp_path, changed):
    head = changed.get_layer("head_conv2d")
    before = getattr(head, attribute)
    setattr(head, attribute, value)
    with pytest.raises(ValueError, match=message):
        changed.save(tmp_path / "model.keras")
    setattr(head, attribute, before)


@pytest.fixture(scope="module")
def changed():
    """A network whose head the tests of refusals change, and change back."""
    return tiny()


def test_a_custom_function_is_given_again_when_the_file_is_loaded(tmp_path):
    def doubled(x):
        return 2 * x

    model = randomize(EveryLayer())
    model.get_layer("head").activation = doubled
    model.save(tmp_path / "model.keras")
    with keras.saving.custom_object_scope({"doubled": doubled}):
        loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(loaded, model)


def head_on(network):
    """A functional model of a network of features and a head of Keras, with further layers."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.DepthwiseConv2D(1, name="depthwise")(inputs)
    x = keras.layers.SeparableConv2D(3, 1, name="separable")(x)
    x = network(x)
    x = keras.layers.BatchNormalization(name="batch")(x)
    return bit_keras.Model(inputs, keras.layers.Dense(5, name="top")(x))


# What is changed on a functional model after it was built, from a regularizer.
LATER = {
    "the attribute": lambda m, r: setattr(m.get_layer("top"), "kernel_regularizer", r),
    "the variable": lambda m, r: setattr(m.get_layer("top").kernel, "regularizer", r),
    "the bias": lambda m, r: setattr(m.get_layer("top").bias, "regularizer", r),
    "a depthwise attribute": lambda m, r: setattr(m.layers[1], "depthwise_regularizer", r),
    "a depthwise variable": lambda m, r: setattr(m.layers[1].kernel, "regularizer", r),
    "a separable variable": lambda m, r: setattr(m.layers[2].weights[1], "regularizer", r),
    "a constraint": lambda m, r: setattr(
        m.get_layer("top").kernel, "constraint", keras.constraints.NonNeg()
    ),
    "a statistic": lambda m, r: setattr(m.get_layer("batch").gamma, "regularizer", r),
    "not trained": lambda m, r: setattr(m.get_layer("top").kernel, "trainable", False),
    "trained": lambda m, r: (
        setattr(m.get_layer("top"), "trainable", False),
        setattr(m.get_layer("top").kernel, "trainable", True),
    ),
    "the network": lambda m, r: setattr(m.layers[3].get_layer("group_norm"), "activation", None),
}


def test_what_was_changed_on_the_variables_of_a_functional_model_is_saved(tmp_path):
    network = tiny(include_top=False)
    x = images(2, 32, 32, 3)
    for what, change in LATER.items():
        model = randomize(head_on(network))
        change(model, L2)
        loaded = saved_and_loaded(model, tmp_path)
        assert_equal(loaded, model, x, what)
        assert_equal(saved_and_loaded(loaded, tmp_path), model, x, what)
    assert "changed_variables" not in head_on(tiny(include_top=False)).get_config()


def assert_equal(loaded, model, x, what):
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)), err_msg=what)
    losses = [[float(loss) for loss in each.losses] for each in (loaded, model)]
    np.testing.assert_allclose(*losses, rtol=1e-6, err_msg=what)
    here, there = ([v.path for v in each.trainable_weights] for each in (loaded, model))
    assert len(here) == len(there), what
    kinds = [[type(v.constraint) for v in each.weights] for each in (loaded, model)]
    assert kinds[0] == kinds[1], what


@pytest.mark.parametrize("build", [tiny, lambda: head_on(tiny(include_top=False))])
def test_a_variable_that_was_removed_is_refused(build, tmp_path):
    model = build()
    model.layers[-1].bias = None
    with pytest.raises(ValueError, match=r"cannot be saved.*'bias' was replaced or removed"):
        model.save(tmp_path / "model.keras")


def test_a_variable_that_is_trained_in_a_frozen_network_is_saved(tmp_path):
    model = tiny()
    model.freeze("features")
    model.get_layer("root_block_standardized_conv2d").kernel.trainable = True
    loaded = saved_and_loaded(model, tmp_path)
    here, there = ([v.path for v in each.trainable_weights] for each in (model, loaded))
    assert here == there
    assert len(here) == 3


def test_an_activation_of_none_is_linear(tmp_path):
    model = randomize(tiny())
    model.get_layer("group_norm").activation = None
    model.layers[-1].activation = None
    x = images(2, 32, 32, 3)
    loaded = saved_and_loaded(model, tmp_path)
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))
    layer = bit_keras.GroupNormalization(activation="relu")
    layer.activation = None
    assert layer.get_config()["activation"] == "linear"

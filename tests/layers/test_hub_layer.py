"""HubLayer against the same networks in Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from layers import modules
from layers.classifier import CLASSES, classifier, data, train

import bit_keras


def assert_close(actual, expected, relative):
    for a, e in zip(actual, expected, strict=True):
        assert np.abs(a - e).max() <= relative * np.abs(e).max()


def changed(layer, before):
    pairs = zip(layer.weights, before, strict=True)
    return {v.name for v, old in pairs if np.any(v.numpy() != old)}


@pytest.mark.parametrize("model_class", [keras.Model, bit_keras.Model])
def test_twenty_steps_equal_those_of_the_same_network_in_keras(features, model_class):
    layer = bit_keras.HubLayer(features)
    before = layer.get_weights()
    ours, theirs = (
        classifier(base, model_class)
        for base in (layer, modules.keras_features(modules.Features()))
    )
    np.testing.assert_allclose(train(ours), train(theirs), rtol=1e-6)
    assert_close(ours.get_weights(), theirs.get_weights(), 1e-6)
    assert len(changed(layer, before)) == 4  # batch statistics too


def test_variables_are_adopted_and_not_copied(features):
    layer = bit_keras.HubLayer(features)
    images = data()[0][:2]
    layer.set_weights([0 * value for value in layer.get_weights()])
    assert not np.any(layer(images))


def test_weights_are_the_trainable_ones_and_then_the_others(features):
    layer = bit_keras.HubLayer(features, name="bit")
    assert [variable.path for variable in layer.weights] == [
        "bit/features_conv_kernel",
        "bit/features_beta",
        "bit/features_moving_mean",
        "bit/features_moving_variance",
    ]
    assert [v.name for v in layer.trainable_weights] == ["features_conv_kernel", "features_beta"]


@pytest.mark.parametrize("when", ["made", "later"])
@pytest.mark.parametrize("name", ["features", "dropout"])
def test_a_frozen_module_does_not_change(request, name, when):
    layer = bit_keras.HubLayer(request.getfixturevalue(name), trainable=when == "later")
    layer.trainable = False
    before = layer.get_weights()
    train(classifier(layer))
    assert not layer.trainable_variables
    assert not layer.losses
    assert not changed(layer, before)


def test_a_thawed_module_trains(features):
    layer = bit_keras.HubLayer(features, trainable=False)
    before = layer.get_weights()
    layer.trainable = True
    train(classifier(layer))
    assert len(changed(layer, before)) == 4


def test_training_reaches_the_module(dropout):
    layer = bit_keras.HubLayer(dropout)
    images = data()[0]
    state = layer.non_trainable_weights[0]
    assert np.all(layer(images, training=False))
    assert state.numpy().tolist() == [1, 2]
    first = layer(images, training=True)
    assert 0.3 < np.mean(np.equal(first, 0)) < 0.7
    assert state.numpy().tolist() == [1, 3]
    assert np.any(layer(images, training=True) != first)
    layer.trainable = False
    assert np.all(layer(images, training=True))


def test_regularization_losses_count_once_however_often_the_layer_is_called(features):
    layer = bit_keras.HubLayer(features)
    expected = modules.L2 * np.sum(np.square(layer.weights[0].numpy()))
    np.testing.assert_allclose(layer.losses, [expected], rtol=1e-6)
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layer(inputs) + layer(-inputs))
    model(data()[0][:1])
    np.testing.assert_allclose(model.losses, [expected], rtol=1e-6)


def test_a_module_with_nothing_but_a_callable_trains(plain):
    layer = bit_keras.HubLayer(plain)
    before = layer.get_weights()
    assert [v.name for v in layer.weights] == ["Variable", "Variable_1", "count"]
    train(classifier(layer))
    assert changed(layer, before) == {"Variable", "Variable_1"}


def test_a_module_without_anything_to_train_says_so(tmp_path):
    class Frozen(modules.Plain):
        trainable_variables = ()

    module = Frozen()
    module.trainable_variables = []
    modules.save(module, tmp_path / "frozen")
    with pytest.warns(UserWarning, match="has no trainable variable.*trainable=False"):
        bit_keras.HubLayer(tmp_path / "frozen")
    layer = bit_keras.HubLayer(tmp_path / "frozen", trainable=False)
    assert len(layer.weights) == 3  # which a file keeps, even if the module lists none


def test_a_variable_that_would_get_no_gradient_is_refused(tmp_path):
    module = modules.Features()
    module.trainable_variables = [module.kernel, module.mean]
    path = modules.save(module, tmp_path / "module")
    with pytest.raises(ValueError, match=r"moving_mean:0 is in trainable_variables.*False"):
        bit_keras.HubLayer(path)


def test_shapes_are_known_before_a_call(features):
    layer = bit_keras.HubLayer(features)
    assert layer.compute_output_shape((None, None, None, 3)) == (None, 4)
    assert layer(keras.Input((None, None, 3))).shape == (None, 4)
    model = classifier(layer)
    for shape in ((1, 9, 13, 3), (5, 4, 4, 3)):
        assert model(np.ones(shape, "float32")).shape == (shape[0], CLASSES)


def test_structures_of_tensors_go_in_and_out(tmp_path):
    class Pair(tf.Module):
        @tf.function
        def __call__(self, inputs):
            return {"sum": inputs["x"] + tf.cast(inputs["n"], "float32"), "x": inputs["x"]}

    spec = {"x": tf.TensorSpec([None, 2]), "n": tf.TensorSpec([None, 1], "int32")}
    module = Pair()
    module.__call__.get_concrete_function(spec)
    layer = bit_keras.HubLayer(modules.save(module, tmp_path / "pair"), trainable=False)
    inputs = {"x": keras.Input((2,), name="x"), "n": keras.Input((1,), name="n", dtype="int32")}
    model = keras.Model(inputs, layer(inputs))
    outputs = model({"x": np.ones((3, 2), "float16"), "n": np.ones((3, 1), "int32")})
    assert outputs["sum"].numpy().tolist() == [[2.0, 2.0]] * 3
    assert layer.compute_output_shape({"x": (3, 2), "n": (3, 1)}) == {"sum": (3, 2), "x": (3, 2)}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.ones((1, 4, 4, 1), "float32"), r"expected shape=\(None, None, None, 3\)"),
        (np.ones((4, 4, 3), "float32"), "expected ndim=4"),
        (np.ones((1, 4, 4, 3), "uint8"), "expected dtype=float32, found dtype=uint8"),
    ],
)
def test_inputs_that_the_module_does_not_take_are_refused(features, inputs, message):
    with pytest.raises(ValueError, match=message):
        bit_keras.HubLayer(features)(inputs)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float64"])
def test_the_module_computes_in_its_own_dtype_under_every_policy(features, policy):
    images = data()[0]
    plain, layer = bit_keras.HubLayer(features), bit_keras.HubLayer(features, dtype=policy)
    np.testing.assert_array_equal(layer(images), plain(images))
    np.testing.assert_array_equal(layer(images.astype("float64")), plain(images))
    rounded = tf.cast(images, "bfloat16")
    np.testing.assert_array_equal(layer(rounded), plain(tf.cast(rounded, "float32")))
    symbolic = layer(keras.Input((None, None, 3), dtype="bfloat16"))
    assert symbolic.dtype == layer.weights[0].dtype == "float32"


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_training_under_a_mixed_policy_is_training_in_float32(features, policy):
    expected = train(classifier(bit_keras.HubLayer(features)))
    keras.config.set_dtype_policy(policy)
    try:
        actual = train(classifier(bit_keras.HubLayer(features)))  # float16: a scaled loss
    finally:
        keras.config.set_dtype_policy("float32")
    # The head is float32 here, so that only the rounding of the images themselves is left.
    np.testing.assert_allclose(actual, expected, rtol=1e-2)


def test_xla_is_not_tried_unasked(plain):
    assert not classifier(bit_keras.HubLayer(plain), jit_compile="auto").jit_compile


@pytest.mark.slow
def test_xla_compiles_where_it_is_allowed(plain):
    layer = bit_keras.HubLayer(plain)
    layer.supports_jit = True
    model = classifier(layer, jit_compile=True)
    expected = train(classifier(bit_keras.HubLayer(plain)))
    np.testing.assert_allclose(train(model), expected, rtol=1e-5)


@pytest.mark.parametrize("model_class", [keras.Model, bit_keras.Model])
def test_training_on_two_replicas(plain, mirrored, model_class, tmp_path):
    single = classifier(bit_keras.HubLayer(plain), model_class)
    train(single)
    with mirrored.scope():
        model = classifier(bit_keras.HubLayer(plain), model_class)
    train(model)
    assert_close(model.get_weights(), single.get_weights(), 1e-5)
    model.save(tmp_path / "model.keras")
    with mirrored.scope():
        loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=False)
    for a, e in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, e)


def test_regularization_and_statistics_on_two_replicas_are_those_of_keras(features, mirrored):
    with mirrored.scope():
        layer = bit_keras.HubLayer(features)
        model = classifier(layer)
        theirs = classifier(modules.keras_features(modules.Features()))
    before = layer.get_weights()
    np.testing.assert_allclose(train(model), train(theirs), rtol=1e-6)
    assert_close(model.get_weights(), theirs.get_weights(), 1e-6)
    assert len(changed(layer, before)) == 4


def test_a_layer_made_outside_of_the_strategy_says_what_to_do(features, mirrored):
    layer = bit_keras.HubLayer(features, name="bit")
    with mirrored.scope(), pytest.raises(ValueError, match=r"'bit'.*outside.*strategy\.scope\(\)"):
        classifier(layer)
    model = classifier(layer)
    with mirrored.scope(), pytest.raises(ValueError, match=r"'bit'.*outside.*strategy\.scope\(\)"):
        train(model)


def test_a_model_is_cloned(plain):
    model = classifier(bit_keras.HubLayer(plain, trainable=False, name="bit", dtype="float64"))
    clone = keras.models.clone_model(model).get_layer("bit")
    assert (clone.trainable, clone.dtype, clone.handle_or_path) == (False, "float64", plain)
    assert clone is not model.get_layer("bit")


def test_anything_but_a_handle_or_a_path_is_refused():
    with pytest.raises(ValueError, match=r"expected a handle or a path.*got <"):
        bit_keras.HubLayer(modules.Plain())


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"input_shape": (32, 32, 3)}, r"no argument 'input_shape'. .*keras\.Input"),
        ({"batch_input_shape": (1, 32, 32, 3)}, r"'batch_input_shape'. .*keras\.Input"),
        ({"signature": "features"}, r"no argument 'signature'\. .*TFSMLayer"),
        ({"trainble": True}, r"no argument 'trainble'\. Expected handle_or_path, trainable"),
    ],
)
def test_arguments_of_other_hub_layers_are_explained(argument, message):
    with pytest.raises(TypeError, match=message):
        bit_keras.HubLayer("https://example.com/module", **argument)

"""The layers against float64 references, and against what Keras asks of its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import convolve, group_norm, pad, relative_error, standardize

from bit_keras import GroupNormalization, StandardizedConv2D
from bit_keras.layers.standardized_conv2d import standardize_kernel


@pytest.fixture
def rng():
    """Returns a new generator of random numbers, so that no test depends on another."""
    return np.random.default_rng(1)


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def round_trip(layer):
    """The layer, serialized and revived by its registered name alone."""
    config = keras.saving.serialize_keras_object(layer)
    return keras.saving.deserialize_keras_object(config)


@pytest.mark.parametrize(
    ("size", "arguments", "channels"),
    [
        (1, {}, 8),
        (3, {"strides": 2}, 8),
        (3, {"groups": 4}, 8),
        (3, {"dilation_rate": 2}, 8),
        (7, {"strides": 2}, 3),
    ],
)
@pytest.mark.parametrize("use_bias", [True, False])
def test_convolution_is_that_of_the_standardized_kernel(rng, size, arguments, channels, use_bias):
    layer = StandardizedConv2D(16, size, use_bias=use_bias, padding="valid", **arguments)
    x = rng.normal(size=(2, 15, 11, channels)).astype("float32")
    layer.build(x.shape)
    kernel = rng.normal(2, 5, layer.kernel.shape)
    layer.kernel.assign(kernel)
    expected = convolve(
        x,
        standardize(numpy(layer.kernel)),
        arguments.get("strides", 1),
        arguments.get("dilation_rate", 1),
        arguments.get("groups", 1),
    )
    if use_bias:
        layer.bias.assign(rng.normal(size=16))
        expected = expected + numpy(layer.bias)
    assert relative_error(numpy(layer(x)), expected) < 1e-5


def test_same_padding_at_stride_one_is_symmetric_zeros(rng):
    layer = StandardizedConv2D(4, 3, padding="same", use_bias=False)
    x = rng.normal(size=(1, 5, 6, 3)).astype("float32")
    y = layer(x)
    expected = convolve(pad(x, 1), standardize(numpy(layer.kernel)))
    assert relative_error(numpy(y), expected) < 1e-5


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3])
def test_kernel_epsilon_is_that_of_the_official_code(rng, scale):
    # At 1e-6 the epsilon of 1e-10 dominates the variance: 1e-8 would be far away.
    kernel = rng.normal(size=(3, 3, 8, 4)) * scale
    kernel = kernel.astype("float32")
    assert relative_error(numpy(standardize_kernel(kernel)), standardize(kernel)) < 1e-5


def test_a_constant_kernel_gives_zeros_and_finite_gradients(rng):
    layer = StandardizedConv2D(4, 1, kernel_initializer="ones", use_bias=False)
    x = tf.constant(rng.normal(size=(1, 4, 4, 1)).astype("float32"))
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(layer(x))
    assert not numpy(layer(x)).any()
    assert np.isfinite(numpy(tape.gradient(y, layer.kernel.value))).all()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_kernel_statistics_are_float32_under_half_precision(rng, policy):
    # A mean of 100 deviations: rounded to bfloat16 first, the kernel would have lost its digits.
    kernel = rng.normal(100, 1, (3, 3, 8, 4)).astype("float32")
    half = StandardizedConv2D(4, 3, use_bias=False, dtype=policy)
    x = rng.normal(size=(1, 6, 6, 8)).astype("float32")
    half.build(x.shape)
    half.kernel.assign(kernel)
    y = half(x)
    assert y.dtype == half.compute_dtype
    assert half.kernel.dtype == "float32"
    assert relative_error(numpy(y).astype("float32"), convolve(x, standardize(kernel))) < 2e-2


def test_convolution_serializes_whole():
    layer = StandardizedConv2D(
        6, 3, strides=2, groups=3, kernel_regularizer="l2", kernel_initializer="he_normal",
        kernel_constraint="non_neg", bias_regularizer="l1", activation="relu", epsilon=1e-6,
    )  # fmt: skip
    revived = round_trip(layer)
    assert type(revived) is StandardizedConv2D
    assert revived.get_config() == layer.get_config()
    assert revived.epsilon == 1e-6


def test_regularizer_sees_the_raw_kernel():
    layer = StandardizedConv2D(4, 3, kernel_regularizer=keras.regularizers.L2(1.0), use_bias=False)
    layer.build((None, None, None, 3))
    layer.kernel.assign(np.full(layer.kernel.shape, 2.0))
    assert float(layer.losses[0]) == pytest.approx(4.0 * np.prod(layer.kernel.shape))


def test_lora_trains_a_delta_of_the_raw_kernel(rng):
    layer = StandardizedConv2D(4, 3, use_bias=False)
    layer.build((None, None, None, 3))
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(rng.normal(size=layer.lora_kernel_b.shape))
    x = rng.normal(size=(1, 5, 5, 3)).astype("float32")
    assert relative_error(numpy(layer(x)), convolve(x, standardize(numpy(layer.kernel)))) < 1e-5


SHAPES = [(2, 64), (3, 5, 64), (2, 7, 5, 64), (2, 1, 1, 32), (1, 3, 4, 5, 32), (1, 112, 112, 64)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("mean", "bound"), [(0.0, 1e-5), (100.0, 1e-3)])
def test_group_normalization_in_any_rank(rng, shape, mean, bound):
    x = (mean + rng.normal(size=shape)).astype("float32")
    layer = GroupNormalization()
    layer.build(x.shape)
    gamma, beta = rng.normal(1, 0.5, shape[-1]), rng.normal(size=shape[-1])
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    expected = group_norm(x, numpy(layer.gamma), numpy(layer.beta))
    assert relative_error(numpy(layer(x)), expected) < bound


@pytest.mark.parametrize("groups", [1, 4, 64, -1])
@pytest.mark.parametrize("axis", [1, 2, -2, -1])
def test_group_normalization_along_any_axis(rng, groups, axis):
    x = rng.normal(3, 2, (2, 64, 64, 64)).astype("float32")
    layer = GroupNormalization(groups, axis=axis)
    expected = group_norm(np.moveaxis(x, axis, -1), groups=64 if groups == -1 else groups)
    assert relative_error(numpy(layer(x)), np.moveaxis(expected, -1, axis)) < 1e-5


@pytest.mark.parametrize("axis", [0, -4, 4, [-1]])
def test_group_normalization_refuses_an_axis_without_channels(axis):
    with pytest.raises(ValueError, match=r"Expected 1 to 3, or -3 to -1"):
        GroupNormalization(axis=axis)(np.ones((32, 4, 4, 32), "float32"))


@pytest.mark.parametrize(("scale", "center"), [(True, False), (False, True), (False, False)])
def test_scale_and_center_can_be_left_out(rng, scale, center):
    x = rng.normal(size=(2, 3, 3, 32)).astype("float32")
    layer = GroupNormalization(8, scale=scale, center=center)
    assert relative_error(numpy(layer(x)), group_norm(x, groups=8)) < 1e-5
    assert len(layer.weights) == scale + center


def test_fused_activation(rng):
    x = rng.normal(size=(2, 3, 3, 32)).astype("float32")
    y = numpy(GroupNormalization(activation="relu")(x))
    assert relative_error(y, np.maximum(group_norm(x), 0)) < 1e-5


@pytest.mark.parametrize("value", [0.0, -3.5, 7e4])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16", "float64"])
def test_a_constant_input_gives_beta(value, policy):
    layer = GroupNormalization(dtype=policy)
    y = numpy(layer(np.full((2, 4, 4, 64), value, "float32"))).astype("float64")
    # 7e4 is beyond float16 and its mean is inexact in float32.
    assert np.abs(y).max() < 3.0 if value == 7e4 else not y.any()
    assert np.isfinite(y).all()


def test_group_statistics_are_float32_under_half_precision(rng):
    x = rng.normal(50, 1, (2, 8, 8, 64)).astype("float32")
    y = GroupNormalization(dtype="mixed_bfloat16")(x)
    assert y.dtype == "bfloat16"
    assert relative_error(keras.ops.cast(y, "float32"), group_norm(x)) < 1e-2


def test_gradients_are_those_of_float64(rng):
    x = rng.normal(3, 1, (2, 5, 4, 64))
    direction = rng.normal(size=x.shape)

    def gradient(dtype):
        layer = GroupNormalization(dtype=dtype, activation="relu")
        inputs = tf.constant(x.astype(dtype))
        layer.build(inputs.shape)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(layer(inputs) * direction.astype(dtype))
        return tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value])

    for actual, expected in zip(gradient("float32"), gradient("float64"), strict=True):
        assert relative_error(actual, expected) < 1e-5


def test_first_and_second_gradients_are_the_finite_differences(rng):
    x = tf.constant(rng.normal(size=(1, 2, 2, 4)))
    direction = tf.constant(rng.normal(size=x.shape))
    layer = GroupNormalization(2, dtype="float64")
    layer.build(x.shape)

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) ** 3)
        return tape.gradient(loss, x)

    def directional(function, step=1e-5):
        difference = function(x + step * direction) - function(x - step * direction)
        return difference / (2 * step)

    first = tf.reduce_sum(gradient(x) * direction)
    assert float(first) == pytest.approx(
        float(directional(lambda x: tf.reduce_sum(layer(x) ** 3))), rel=1e-6
    )
    with tf.GradientTape() as tape:
        tape.watch(x)
        along = tf.reduce_sum(gradient(x) * direction)
    second = tape.gradient(along, x)
    assert relative_error(second, directional(gradient)) < 1e-6


def test_dynamic_and_empty_batches(rng):
    layer = GroupNormalization()
    layer.build((None, None, None, 64))
    function = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 64))])
    for shape in [(2, 3, 5, 64), (1, 1, 1, 64), (0, 4, 4, 64)]:
        x = rng.normal(size=shape).astype("float32")
        y = numpy(function(x))
        assert y.shape == shape
        assert not y.size or relative_error(y, group_norm(x)) < 1e-5


def test_normalization_serializes_whole_and_passes_masks():
    layer = GroupNormalization(
        4, axis=1, activation="relu", gamma_constraint="unit_norm", beta_regularizer="l2"
    )
    revived = round_trip(layer)
    assert type(revived) is GroupNormalization
    assert revived.get_config() == layer.get_config()
    assert layer.supports_masking


def test_only_the_defaults_of_big_transfer_differ_from_keras():
    ours, theirs = GroupNormalization().get_config(), keras.layers.GroupNormalization().get_config()
    assert {key for key in theirs if key != "name" and ours[key] != theirs[key]} == {"epsilon"}
    ours, theirs = StandardizedConv2D(8, 3).get_config(), keras.layers.Conv2D(8, 3).get_config()
    assert {key for key in theirs if key != "name" and ours[key] != theirs[key]} == set()


def test_lora_keeps_the_float32_statistics_under_half_precision(rng):
    kernel = rng.normal(100, 1, (3, 3, 8, 4)).astype("float32")
    layer = StandardizedConv2D(4, 3, use_bias=False, dtype="mixed_bfloat16")
    x = rng.normal(size=(1, 6, 6, 8)).astype("float32")
    layer.build(x.shape)
    layer.kernel.assign(kernel)
    before = numpy(layer(x))
    layer.enable_lora(2)
    np.testing.assert_array_equal(numpy(layer(x)), before)


@pytest.mark.parametrize("epsilon", [-1, None, "small"])
def test_an_epsilon_that_is_none(epsilon):
    with pytest.raises(ValueError, match="expected a number from 0"):
        StandardizedConv2D(4, 3, epsilon=epsilon)

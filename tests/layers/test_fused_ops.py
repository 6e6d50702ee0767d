"""The forms that are quick on a CPU give what the plain ones give, and stay where they belong."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import relative_error

from bit_keras import GroupNormalization, StandardizedConv2D
from bit_keras.layers.standardized_conv2d import standardize_kernel
from bit_keras.layers.tracing import for_other_programs, in_cpu_graph


@pytest.fixture
def rng():
    """Each test draws the same numbers, whichever tests ran before it."""
    return np.random.default_rng(0)


def operations(function, *arguments):
    graph = tf.function(function).get_concrete_function(*arguments).graph
    return {operation.type for operation in graph.get_operations()}


def gradients(layer, x, weigh):
    """Of a sum, by the input and the weights, in float64."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(weigh * layer(x))
    found = tape.gradient(loss, [x, *layer.trainable_variables])
    return [np.asarray(gradient, "float64") for gradient in found]


@pytest.mark.parametrize("activation", ["relu", None, "tanh"])
@pytest.mark.parametrize(("mean", "bound"), [(0.0, 1e-5), (100.0, 1e-3)])
@pytest.mark.parametrize("shape", [(2, 7, 5, 64), (2, 80, 70, 64), (3, 1, 1, 64), (1, 64)])
def test_group_normalization_and_its_gradient(shape, mean, bound, activation, rng):
    x, weigh = rng.normal(mean, 1, shape).astype("float32"), rng.normal(size=shape)
    exact = GroupNormalization(16, activation=activation, dtype="float64")
    linear = GroupNormalization(16, dtype="float64")
    quick = GroupNormalization(16, activation=activation)
    for layer in (exact, linear, quick):
        layer.build(shape)
    gamma, beta = rng.normal(1, 0.5, (2, 64)).astype("float32")
    with for_other_programs.on():
        exact.set_weights([gamma, beta])
        linear.set_weights([gamma, beta])
        # So close to zero, float32 may round an activation to the other side, where ReLU's
        # gradient is another one.
        weigh = np.where(np.abs(np.asarray(linear(x.astype("float64")))) < 1e-3, 0.0, weigh)
        wanted = gradients(exact, tf.constant(x, "float64"), weigh)
        wanted_y = exact(x.astype("float64"))
    quick.set_weights([gamma, beta])
    assert relative_error(np.asarray(quick(x)), np.asarray(wanted_y)) < bound
    for found, value in zip(gradients(quick, tf.constant(x), weigh), wanted, strict=True):
        assert relative_error(found, value) < bound


@pytest.mark.parametrize("mean", [0.0, 100.0])
@pytest.mark.parametrize(("half", "step"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_half_precision_is_rounded_when_it_comes_and_goes_alone(half, step, mean, rng):
    shape = (2, 40, 30, 64)
    x = tf.cast(rng.normal(mean, 1, shape), half)
    exact = GroupNormalization(16, activation="relu", dtype="float64")
    quick = GroupNormalization(16, activation="relu", dtype=f"mixed_{half}")
    for layer in (exact, quick):
        layer.build(shape)
        # Half precision has them too: between calls a layer reads its weights in its own.
        layer.set_weights([np.linspace(-1, 2, 64), np.linspace(-0.5, 0.5, 64)])
    weigh = tf.cast(rng.normal(size=shape), half)
    with for_other_programs.on():
        wanted = gradients(exact, tf.cast(x, "float64"), tf.cast(weigh, "float64"))
        wanted_y = exact(tf.cast(x, "float64"))
    assert relative_error(np.asarray(quick(x), "float64"), np.asarray(wanted_y)) < 2 * step
    for found, value in zip(gradients(quick, x, weigh), wanted, strict=True):
        assert relative_error(found, value) < 4 * step


@pytest.mark.parametrize("value", [64.0, 1024.0, 32768.0])
def test_a_group_of_one_number_but_for_one_pixel_in_half_precision(value):
    x = np.full((1, 28, 28, 8), value, "float32")
    x[0, 0, 0] *= 1 + 2**-7  # the next number that bfloat16 has
    layer = GroupNormalization(4, dtype="mixed_bfloat16")
    found = np.asarray(layer(tf.cast(x, "bfloat16")), "float32")
    deviation = np.sqrt(x.astype("float64").var() + 1e-5)
    assert found.max() == pytest.approx((x.max() - x.mean(dtype="float64")) / deviation, rel=1e-2)


@pytest.mark.parametrize("value", [1.0, 100.0, 1000.0])
@pytest.mark.parametrize("side", [7, 56])
def test_of_one_number_beta_is_left(value, side):
    layer = GroupNormalization(32, beta_initializer=keras.initializers.Constant(0.5))
    found = np.asarray(layer(tf.fill((1, side, side, 256), value)))
    np.testing.assert_allclose(found, 0.5, rtol=1e-5)


@pytest.mark.parametrize("value", [10.0, 1000.0, 30000.0])
@pytest.mark.parametrize(("half", "step"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_of_one_number_in_half_precision_beta_is_left_and_no_slope(half, step, value, rng):
    layer = GroupNormalization(4, dtype=f"mixed_{half}")
    layer.build((2, 8, 8, 32))
    layer.beta.assign(np.full(32, 0.37))
    x = tf.fill((2, 8, 8, 32), tf.cast(value, half))
    weigh = tf.cast(rng.normal(size=x.shape), half)
    np.testing.assert_allclose(np.asarray(layer(x), "float64"), 0.37, rtol=step)
    _, of_gamma, _ = gradients(layer, x, weigh)
    np.testing.assert_allclose(of_gamma, 0, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_standardization_and_its_gradient(scale, rng):
    layer = StandardizedConv2D(16, 3, use_bias=False)
    layer.build((None, 8, 8, 4))
    kernel = (scale * rng.normal(3, 1, layer.kernel.shape)).astype("float32")
    layer.kernel.assign(kernel)
    x = rng.normal(size=(2, 8, 8, 4)).astype("float32")
    weigh = rng.normal(size=(2, 6, 6, 16)).astype("float32")
    (_, found) = gradients(layer, tf.constant(x), weigh)
    with tf.GradientTape() as tape:
        exact = tf.constant(kernel, "float64")
        tape.watch(exact)
        y = tf.nn.conv2d(x.astype("float64"), standardize_kernel(exact), 1, "VALID")
        loss = tf.reduce_sum(weigh * y)
    assert relative_error(found, np.asarray(tape.gradient(loss, exact))) < 1e-4


@pytest.mark.parametrize(
    ("layer", "shape", "operation"),
    [
        (StandardizedConv2D(32, 3), (1, 8, 8, 32), "FusedBatchNormV3"),
        (GroupNormalization(), (None, 56, 56, 256), "BatchMatMulV2"),
        (GroupNormalization(activation="relu"), (None, None, None, 256), "Rsqrt"),
    ],
)
def test_on_a_cpu_a_layer_is_few_operations(layer, shape, operation):
    layer.build(shape)
    assert in_cpu_graph()
    assert operation in operations(layer, tf.TensorSpec(shape))
    with for_other_programs.on():
        assert not in_cpu_graph()
        assert operation not in operations(layer, tf.TensorSpec(shape))


def test_xla_gets_the_plain_form():
    seen = []

    @tf.function(jit_compile=True)
    def compiled(x):
        seen.append(in_cpu_graph())
        return tf.function(inner)(x)

    def inner(x):
        seen.append(in_cpu_graph())
        return x

    compiled(tf.ones(()))
    assert seen == [False, False]


def test_an_accelerator_gets_the_plain_form(monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: kind == "GPU" and [1])
    assert not in_cpu_graph()


def test_half_precision_has_the_statistics_of_float32(rng):
    layer = StandardizedConv2D(8, 3, dtype="mixed_bfloat16", use_bias=False)
    layer.build((None, 4, 4, 3))
    kernel = keras.ops.cast(layer.kernel, "float32")
    x = rng.normal(size=(1, 4, 4, 3)).astype("float32")
    half = tf.cast(standardize_kernel(kernel), "bfloat16")
    wanted = tf.nn.conv2d(tf.cast(x, "bfloat16"), half, 1, "VALID")
    assert relative_error(np.asarray(layer(x), "float32"), np.asarray(wanted, "float32")) < 1e-2


def forward(function, primal, tangent):
    """Returns the product of a function's Jacobian and a tangent, by forward mode."""
    with tf.autodiff.ForwardAccumulator(primal, tangent) as accumulator:
        result = function()
    return np.asarray(accumulator.jvp(result))


def slope(loss, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    return tape.gradient(value, x)


LAYERS = [
    lambda: GroupNormalization(4, activation="relu"),
    lambda: GroupNormalization(4),
    lambda: StandardizedConv2D(8, 3, use_bias=False),
]


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("accelerator", [False, True])
def test_forward_mode_is_the_transposed_of_reverse_mode(make, accelerator, rng, monkeypatch):
    if accelerator:
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: kind == "GPU" and [1])
    layer = make()
    x, tangent = (tf.constant(rng.normal(size=(2, 5, 5, 8)), "float32") for _ in range(2))
    weigh = tf.constant(rng.normal(size=layer(x).shape), "float32")
    weight = layer.trainable_variables[0].value
    direction = tf.constant(rng.normal(size=weight.shape), "float32")

    def loss(_):
        return tf.reduce_sum(weigh * layer(x) ** 2)

    for primal, along in ((x, tangent), (weight, direction)):
        wanted = float(tf.reduce_sum(slope(loss, primal) * along))
        assert forward(lambda: loss(None), primal, along) == pytest.approx(wanted, rel=1e-4)
    # The product of the Hessian and a tangent, forward over reverse and reverse over reverse.
    found = forward(lambda: slope(loss, x), x, tangent)
    wanted = slope(lambda x: tf.reduce_sum(slope(loss, x) * tangent), x)
    assert relative_error(found, np.asarray(wanted)) < 1e-4
    # Here only the gradient of the output has a tangent, and the input has none.
    scale = tf.constant(2.0)
    found = forward(lambda: slope(lambda x: scale * loss(x), x), scale, tf.constant(1.0))
    assert relative_error(found, np.asarray(slope(loss, x))) < 1e-5


def test_forward_mode_through_a_graph(rng):
    layer = GroupNormalization(4, activation="relu")
    x, tangent = (tf.constant(rng.normal(size=(2, 5, 5, 8)), "float32") for _ in range(2))
    found = forward(lambda: tf.function(layer)(x), x, tangent)
    assert relative_error(found, forward(lambda: layer(x), x, tangent)) < 1e-5

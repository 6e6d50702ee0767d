"""What is computed again has the numbers of what is kept, and leaves nothing behind."""

import contextlib
import gc
import os
import pickle
import re
import subprocess
import sys
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from marked import slow_except
from networks import images, randomize, tiny
from tensorflow.python.framework import ops

from bit_keras.layers.standardized_conv2d import StandardizedConv2D
from bit_keras.layers.tracing import for_other_programs
from bit_keras.models.model import Model
from bit_keras.models.rematerialization import steps

CLASSES = 3


def network(**arguments):
    # In float64: a unit that rounding moves over the edge of a ReLU is then no matter.
    keras.utils.set_random_seed(3)
    return tiny(**{"classes": CLASSES, "dtype": "float64", **arguments})


def train(model, run_eagerly=True, **arguments):
    """Three steps; returns losses and weights. Tracing a step takes longer than eager steps."""
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=model.compute_dtype),
        run_eagerly=run_eagerly,
        **arguments,
    )
    history = model.fit(
        images(12, 32, 32, 3), np.arange(12) % CLASSES, batch_size=4, shuffle=False, verbose=0
    ).history
    return [history["loss"], *(variable.numpy() for variable in model.weights)]


@pytest.fixture(scope="module")
def expected():
    return train(network())


def assert_same(found, expected, tolerance=1e-6):
    assert len(found) == len(expected)
    for each, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(each, value, rtol=0, atol=tolerance * np.abs(value).max())


# The numbers of what is kept


@pytest.mark.parametrize(
    ("by", "slices", "arguments"),
    [
        pytest.param("unit", 1, {"run_eagerly": False}, marks=pytest.mark.slow),
        ("block", 1, {}),
        pytest.param(
            "unit", 2, {"run_eagerly": False, "steps_per_execution": 3}, marks=pytest.mark.slow
        ),
        ("unit", 1, {}),
    ],
)
def test_a_training_ends_with_the_same_weights(by, slices, arguments, expected):
    model = network()
    model.rematerialize(by)
    model.batch_split = slices
    assert_same(train(model, **arguments), expected)


@pytest.mark.slow
def test_two_replicas_end_with_the_same_weights(mirrored, expected):
    with mirrored.scope():
        model = network()
    model.rematerialize("unit")
    model.batch_split = 2
    with mirrored.scope():
        found = train(model, run_eagerly=False)
    assert_same(found, expected)


@pytest.mark.slow
def test_frozen_layers_stay_and_the_others_have_the_same_weights():
    found = []
    for by in (None, "unit"):
        model = network()
        model.freeze("block2")
        before = model.get_layer("block2_unit01_a_standardized_conv2d").get_weights()
        model.rematerialize(by)
        found.append(train(model))
        after = model.get_layer("block2_unit01_a_standardized_conv2d").get_weights()
        np.testing.assert_array_equal(after, before)
    assert_same(found[1], found[0])


@pytest.mark.slow
def test_regularization_counts_once():
    found = []
    for by, slices in ((None, 1), ("unit", 2)):
        # Keras cannot add a regularization of float64 to a loss.
        model = network(dtype="float32", kernel_regularizer=keras.regularizers.L2(0.01))
        model.rematerialize(by)
        model.batch_split = slices
        assert float(sum(model.losses)) > 5
        found.append(train(model)[0])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def gradients(model, inputs):
    weights = model.trainable_weights
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(inputs, training=True) ** 2)
    return tape.gradient(loss, weights)


@pytest.mark.parametrize("around", slow_except(["layer"], ["layer", "input_tensor"]))
def test_a_part_of_a_graph_is_rematerialized(around):
    inputs = keras.Input((32, 32, 3), dtype="float64")
    if around == "layer":
        part = randomize(network(include_top=False))
        outputs = keras.layers.Dense(2, dtype="float64")(part(inputs))
        whole = Model(inputs, outputs)
    else:
        scaled = keras.layers.Rescaling(0.5, dtype="float64")(inputs)
        whole = part = randomize(network(input_tensor=scaled))
    x = tf.constant(images(2, 32, 32, 3), tf.float64)
    plain = gradients(whole, x)
    part.rematerialize("unit")
    assert_same(gradients(whole, x), plain)
    assert computed(whole, x) > 1.5 * NUM_CONVOLUTIONS


NUM_CONVOLUTIONS = 1 + 4 * 4  # of the tiny network


def computed(model, inputs):
    """How many convolutions are in the graph of a gradient."""
    graph = tf.function(lambda x: gradients(model, x)).get_concrete_function(inputs).graph
    return sum(operation.type == "Conv2D" for operation in graph.get_operations())


@pytest.mark.slow
def test_units_are_computed_twice_in_training_only():
    model = network()
    x = tf.zeros((2, 32, 32, 3), tf.float64)
    assert computed(model, x) == NUM_CONVOLUTIONS
    for by in ("unit", "block"):
        model.rematerialize(by)
        assert computed(model, x) == 2 * NUM_CONVOLUTIONS - 1  # the root is not in a unit
    model.rematerialize(None)
    assert computed(model, x) == NUM_CONVOLUTIONS


def test_inference_is_as_ever():
    model = randomize(network())
    x = images(2, 32, 32, 3)
    plain = [model.predict(x, verbose=0), model(x).numpy()]
    model.rematerialize("unit")
    np.testing.assert_array_equal([model.predict(x, verbose=0), model(x).numpy()], plain)


# The memory


def test_kernels_wait_for_the_input_of_their_unit():
    # A kernel read at once is standardized at once: the memory of all of them together.
    model = network()
    model.rematerialize("unit")
    x = tf.zeros((2, 32, 32, 3), tf.float64)
    graph = tf.function(lambda x: gradients(model, x)).get_concrete_function(x).graph
    waiting, at_once = [], []
    for operation in graph.get_operations():
        if operation.type == "Sub" and operation.inputs[0].op.type in ("ReadVariableOp", "Cast"):
            read = operation.inputs[0].op
            (waiting if read.control_inputs else at_once).append(read)
    # Those of the root, which no unit contains, need not.
    assert len(at_once) <= 1
    assert len(waiting) == 2 * (NUM_CONVOLUTIONS - 1)


def test_xla_does_not_take_the_first_computation_for_the_second():
    start = x = keras.Input((4,))
    tensors = [start]
    for _ in range(3):
        x = keras.layers.Dense(4, activation="tanh")(x)
        tensors.append(x)
    kept = (keras.Function(start, x),)
    variables = [v.value for v in keras.Model(start, x).trainable_variables]

    def gradient_by(functions):
        @tf.function(jit_compile=True)
        def gradient(x):
            with tf.GradientTape() as tape:
                for function in functions:
                    x = function(x)
                loss = x**2
            return tape.gradient(loss, variables)

        return gradient

    def tanhs(gradient):
        return gradient.experimental_get_compiler_ir(data)(stage="optimized_hlo").count(" tanh(")

    data = tf.random.normal((8, 4))
    plain = gradient_by(kept)
    again = gradient_by(steps(start, (tensors[1], tensors[3]), tensors[3]))
    assert tanhs(again) == tanhs(plain) + 2
    assert_same(again(data), plain(data))


@pytest.mark.slow
def test_a_graph_ends_with_its_training():
    model = network()
    x = tf.zeros((2, 32, 32, 3), tf.float64)
    registered = len(ops.gradient_registry.list())

    def graph_of(function):
        return weakref.ref(tf.function(function).get_concrete_function(x).graph)

    model.rematerialize("unit")
    graph = graph_of(lambda x: gradients(model, x))
    gc.collect()
    assert graph() is None
    assert len(ops.gradient_registry.list()) == registered
    # What this file is for: Keras' own leaves the graph behind.
    repeated = keras.remat(lambda x: model(x, training=False))

    def stock(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = repeated(x)
        return tape.gradient(y, x)

    graph = graph_of(stock)
    gc.collect()
    assert graph() is not None, "keras.remat leaves nothing behind: use it on TensorFlow too"


# The setting


@pytest.mark.slow
def test_no_file_holds_it(tmp_path):
    model = randomize(network())
    config = model.get_config()
    model.rematerialize("unit")
    assert model.get_config() == config
    model.save(tmp_path / "model.keras")
    x = tf.constant(images(2, 32, 32, 3), tf.float64)
    for copy in (
        keras.models.load_model(tmp_path / "model.keras"),
        pickle.loads(pickle.dumps(model)),
    ):
        assert computed(copy, x) == NUM_CONVOLUTIONS
        np.testing.assert_array_equal(copy(x), model(x))


@pytest.mark.parametrize("by", ["units", "", True, 1, ["unit"]])
def test_another_choice_is_refused(by):
    with pytest.raises(ValueError, match=re.escape(f"rematerialize({by!r}): expected 'unit' or")):
        network().rematerialize(by)


def test_layers_that_may_not_be_computed_twice_are_refused():
    with pytest.raises(ValueError, match="is a batch normalization, which would count"):
        network(normalization="batch").rematerialize("unit")
    model = network()
    layer = model.get_layer("block1_unit01_a_standardized_conv2d")
    layer.activity_regularizer = keras.regularizers.L2(1)
    with pytest.raises(ValueError, match="block1_unit01_a_standardized_conv2d' has an activity"):
        model.rematerialize("block")


OTHER_BACKEND = """
import keras, numpy as np
from networks import tiny, images
losses = []
for by in (None, "unit"):
    keras.utils.set_random_seed(0)
    model = tiny(classes=3)
    model.rematerialize(by)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    x = images(4, 32, 32, 3)
    losses.append(model.fit(x, x[:, 0, 0], epochs=3, batch_size=2, verbose=0).history["loss"])
print(keras.backend.backend(), np.ptp(losses, axis=0).max() < 1e-4, np.ptp(losses[0]) > 1e-2)
"""


@pytest.mark.peer
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_rematerialize(backend):
    tests = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}",
    }
    command = [sys.executable, "-c", OTHER_BACKEND]
    output = subprocess.check_output(command, env=environment, timeout=300, text=True)
    assert output.split("\n")[-2] == f"{backend} True True"


# The kernels


def along(layer, x, direction):
    """The loss as a function of a step along a direction of the kernel."""
    kernel = layer.kernel.numpy()

    def loss(step):
        layer.kernel.assign(kernel + step * direction)
        value = float(tf.reduce_sum(tf.sin(layer(x))))
        layer.kernel.assign(kernel)
        return value

    return loss


def test_gradients_of_a_kernel_are_the_finite_differences():
    random = np.random.default_rng(0)
    layer = StandardizedConv2D(4, 3, dtype="float64")
    x = tf.constant(random.normal(size=(2, 6, 6, 8)))
    layer.build(x.shape)
    direction = random.normal(size=layer.kernel.shape)
    kernel = layer.kernel.value
    with tf.GradientTape() as outer:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(layer(x)))
        first = tf.reduce_sum(tape.gradient(loss, kernel) * direction)
    second = tf.reduce_sum(outer.gradient(first, kernel) * direction)
    loss, step = along(layer, x, direction), 1e-5
    differences = (loss(step) - loss(-step)) / (2 * step)
    assert abs(first - differences) < 1e-6 * abs(differences)
    differences = (loss(step) - 2 * loss(0) + loss(-step)) / step**2
    assert abs(second - differences) < 1e-4 * abs(differences)


@pytest.mark.parametrize("run", ["eager", "function", "outer tape", "xla"])
def test_gradients_of_a_kernel_are_those_of_float64(run):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 6, 6, 8))
    kernel = 3 + random.normal(size=(3, 3, 8, 4))
    found = {}
    for dtype in ("float32", "float64"):
        layer = StandardizedConv2D(4, 3, use_bias=False, dtype=dtype)
        layer.build(x.shape)
        layer.kernel.assign(kernel)
        variable, data = layer.kernel.value, tf.constant(x, dtype)
        call = tf.function(layer) if run == "outer tape" else layer

        def gradient(data, call=call, variable=variable):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.sin(call(data)))
            return tape.gradient(loss, variable)

        if run in ("function", "xla"):
            gradient = tf.function(gradient, jit_compile=run == "xla")
        found[dtype] = gradient(data)
    assert_same([tf.cast(found["float32"], "float64").numpy()], [found["float64"].numpy()], 1e-5)


@pytest.mark.parametrize(
    ("where", "operations"),
    [
        # As one operation; its input, reshaped, is no copy.
        (contextlib.nullcontext, {"Reshape"}),
        # Raw: for autodiff alone, the centred one instead.
        (for_other_programs.on, {"ReadVariableOp", "Mul"}),
    ],
)
def test_of_a_kernel_only_itself_and_what_convolves_are_kept(where, operations):
    layer = StandardizedConv2D(4, 3, use_bias=False)
    layer.build((2, 6, 6, 8))
    x = tf.zeros((2, 6, 6, 8))
    kept = []

    @tf.function
    def gradient():
        with tf.GradientTape() as tape, where():
            loss = tf.reduce_sum(tf.sin(layer(x)))
        forward = loss.graph.get_operations()
        found = tape.gradient(loss, layer.kernel.value)
        backward = loss.graph.get_operations()[len(forward) :]
        inputs = [tensor for operation in backward for tensor in operation.inputs]
        kept.extend(t for t in inputs if t.op in forward and t.shape == layer.kernel.shape)
        return found

    gradient.get_concrete_function()
    assert {tensor.op.type for tensor in kept} == operations

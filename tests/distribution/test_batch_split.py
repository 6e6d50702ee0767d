"""A step in slices of the batch against Keras' step with the whole batch."""

import functools
import re

import distributed_program as program
import keras
import numpy as np
import pytest
import tensorflow as tf
from distributed_program import TOLERANCE, difference
from marked import slow_except

import bit_keras
from bit_keras.distribution.batch_split import split_train_step
from bit_keras.models.model import Model


def split(model, slices=3):
    model.batch_split = slices
    return model


# The numbers of the whole batch


@pytest.mark.parametrize("slices", [2, 11])
def test_slices_give_what_the_whole_batch_gives(slices):
    # 11 are more than the 8 samples of a batch; the 37 of train_on_batch are never shared evenly.
    found = program.everything(split(program.compiled(program.network(Model)), slices), steps=5)
    assert difference(found, program.stock("plain", steps=5)) < TOLERANCE


OPTIONS = [
    "clipnorm, 3 steps an execution",
    "falling rate outside of the velocity, clipvalue, loss scaling",
]


@pytest.mark.parametrize(
    "options",
    slow_except(
        ["eager", "clipnorm, 3 steps an execution"],
        ["eager", "global_clipnorm, weight decay, averages", *OPTIONS],
    ),
)
def test_slices_give_what_the_whole_batch_gives_with(options):
    model = split(program.compiled(program.network(Model), **program.OPTIONS[options]()))
    steps = 2 if options == "eager" else 5
    assert difference(program.everything(model, steps), program.stock(options, steps)) < TOLERANCE


@pytest.mark.slow
def test_batches_of_any_size_are_split_under_xla():
    # A last batch of another size, 5 samples, has Keras trace for sizes that are not known.
    images, labels = program.samples(13)
    found = []
    for model in (program.network(keras.Model), split(program.network(Model), 2)):
        program.compiled(model, jit_compile=True)
        model.fit(images, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
        found.append(program.weights(model))
    assert model.jit_compile
    assert difference(*found) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
def test_slices_on_two_replicas_find_what_one_process_finds(mirrored, options):
    with mirrored.scope():
        model = program.compiled(program.network(Model), **program.OPTIONS[options]())
    found = program.everything(split(model), steps=5)
    assert difference(found, program.stock(options, steps=5)) < TOLERANCE


def train_with_loss(model, reduction, batch_size):
    images, labels = program.samples(37)
    # The learning rate is small, because a sum over 7 samples has seven times the gradient.
    program.compiled(model, reduction, optimizer=keras.optimizers.SGD(0.02, momentum=0.9))
    arguments = {"batch_size": batch_size, "epochs": 2, "shuffle": False, "verbose": 0}
    history = model.fit(images, labels, **arguments).history
    return program.weights(model) | {name: history[name] for name in ("accuracy", "loss")}


@functools.cache
def stock_with_loss(reduction, batch_size):
    return train_with_loss(program.network(keras.Model), reduction, batch_size)


@pytest.mark.parametrize("batch_size", [7, 8])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "sum"])
@pytest.mark.parametrize("replicas", slow_except([1], [1, 2]))
def test_losses_weigh_as_over_the_whole_batch(mirrored, replicas, reduction, batch_size):
    expected = dict(stock_with_loss(reduction, batch_size))
    with mirrored.scope() if replicas == 2 else tf.distribute.get_strategy().scope():
        found = train_with_loss(split(program.network(Model)), reduction, batch_size)
    if replicas == 2:
        # If replicas share a batch unevenly, the reported loss is approximate.
        del found["loss"], expected["loss"]
    assert difference(found, expected) < TOLERANCE


def two_outputs(model_class):
    inputs = {name: keras.Input((4,), name=name) for name in "ab"}
    dense = keras.layers.Dense(3, kernel_initializer=keras.initializers.GlorotUniform(seed=1))
    unused = keras.layers.Dense(2, kernel_initializer="ones", bias_initializer="ones")
    outputs = {"sum": dense(inputs["a"] + inputs["b"]), "other": unused(inputs["b"])}
    model = model_class(inputs, outputs)
    # A weight whose gradient is none stays, and one whose gradient is zero decays.
    model.compile(
        program.sgd(weight_decay=0.1), {"sum": "mse", "other": None}, metrics={"sum": ["mae"]}
    )
    return model


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_dicts_and_weights_without_gradient():
    random = np.random.default_rng(0)
    x = {name: random.normal(size=(14, 4)).astype("float32") for name in "ab"}
    y = {"sum": random.normal(size=(14, 3)).astype("float32"), "other": np.zeros((14, 2))}
    found = []
    for model in (two_outputs(keras.Model), split(two_outputs(Model))):
        history = model.fit(x, y, batch_size=7, shuffle=False, verbose=0).history
        found.append(program.weights(model) | history)
    assert difference(found[1], found[0]) < TOLERANCE


class Call(Model):
    """Defines `call`, and a loss and a metric of its own."""

    def __init__(self):
        super().__init__()
        self.flatten = keras.layers.Flatten()
        self.dense = keras.layers.Dense(
            3, kernel_initializer=keras.initializers.GlorotUniform(seed=3), name="dense"
        )
        self.samples = keras.metrics.Sum(name="samples")

    def call(self, inputs):
        return self.dense(self.flatten(inputs))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return 3 * super().compute_loss(x, y, y_pred, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.samples.update_state(tf.shape(y_pred)[0])
        return super().compute_metrics(x, y, y_pred, sample_weight)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_subclass_has_its_own_loss_and_metrics(mirrored, replicas):
    images, labels = program.samples(13)
    found = []
    for slices in (1, 3):
        with mirrored.scope() if replicas == 2 else tf.distribute.get_strategy().scope():
            model = split(program.compiled(Call()), slices)
        history = model.fit(images, labels, batch_size=8, shuffle=False, verbose=0).history
        assert history["samples"] == [13]
        found.append(program.weights(model))
    assert difference(found[1], found[0]) < TOLERANCE


def test_nothing_to_train():
    model = split(program.compiled(program.network(Model)))
    model.trainable = False
    before = program.weights(model)
    with pytest.warns(UserWarning, match="does not have any trainable weights"):
        model.fit(*program.samples(8), verbose=0)
    for name, value in program.weights(model).items():
        np.testing.assert_array_equal(value, before[name])


# Standardized kernels


def standardizing(model_class):
    """One kernel is regularized, one is a sum (LoRA), one is frozen, one is used twice."""

    def layer(name, **arguments):
        initializer = keras.initializers.GlorotUniform(seed=4)
        arguments |= {"padding": "same", "kernel_initializer": initializer}
        return bit_keras.StandardizedConv2D(8, 3, use_bias=False, name=name, **arguments)

    inputs = keras.Input((8, 8, 3))
    x = layer("regularized", kernel_regularizer=keras.regularizers.L2(0.01))(inputs)
    x = layer("frozen", trainable=False)(bit_keras.GroupNormalization(4, name="norm")(x))
    lora, twice = layer("lora"), layer("twice")
    for convolution in (lora, twice, twice):
        # By the root of what a standardized kernel adds up, so that rounding does not grow.
        x = keras.activations.tanh(convolution(x) / 72**0.5)
    keras.utils.set_random_seed(5)
    lora.enable_lora(2)
    lora.lora_kernel_b.assign(keras.random.normal(lora.lora_kernel_b.shape, seed=6))
    x = keras.layers.GlobalAveragePooling2D()(x)
    initializer = keras.initializers.GlorotUniform(seed=2)
    outputs = keras.layers.Dense(3, kernel_initializer=initializer, name="head")(x)
    return model_class(inputs, outputs)


@pytest.mark.parametrize("replicas", slow_except([1], [1, 2]))
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_kernels_of_all_kinds_get_the_gradient_of_the_whole_batch(mirrored, reduction, replicas):
    images, labels = program.samples(16)
    found = []
    for slices in (1, 3):
        with mirrored.scope() if replicas == 2 else tf.distribute.get_strategy().scope():
            model = standardizing(Model)
            program.compiled(model, reduction, optimizer=keras.optimizers.SGD(0.02, momentum=0.9))
        before = {weight.path: weight.numpy() for weight in model.weights}
        split(model, slices).fit(images, labels, batch_size=8, shuffle=False, verbose=0)
        found.append({weight.path: weight.numpy() for weight in model.weights})
    still = {name for name, value in before.items() if np.array_equal(value, found[1][name])}
    assert still == {"frozen/kernel", "lora/kernel"}
    assert difference(found[1], found[0]) < TOLERANCE


class Rematerialized(Model):
    """Computes a convolution again, by Keras' own means, which know variables alone."""

    def __init__(self):
        super().__init__()
        self.body = standardizing(Model)
        self.convolution = bit_keras.StandardizedConv2D(3, 3, use_bias=False, padding="same")
        self.never_called = bit_keras.StandardizedConv2D(8, 3)

    def build(self, shape):
        keras.utils.set_random_seed(7)
        self.convolution.build(shape)

    def call(self, images):
        return self.body(keras.remat(self.convolution)(images))


class OtherWeights(Model):
    """Calls itself with weights that are not its own, as a teacher of averages does."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        near = [0.9 * v.value + 0.1 * tf.roll(v.value, 1, -1) for v in self.trainable_variables]
        others = [v.value for v in self.non_trainable_variables]
        y_pred, _ = self.stateless_call(near, others, x)
        return super().compute_loss(x, y, y_pred, sample_weight)


class Masked(bit_keras.StandardizedConv2D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel * np.float32([0, 1, 1]).reshape(3, 1, 1, 1))


def masked():
    inputs = keras.Input((8, 8, 3))
    return Model(inputs, standardizing(Model)(Masked(3, 3, padding="same")(inputs)))


class Again(keras.layers.Layer):
    """Calls a layer of the model's, and computes it again on the way back."""

    def __init__(self, convolution):
        super().__init__()
        self.convolution = convolution

    def call(self, inputs):
        return tf.recompute_grad(self.convolution)(inputs)


def shared_with_a_layer_that_computes_it_again(make_again=Again):
    inputs = keras.Input((8, 8, 3))
    convolution = bit_keras.StandardizedConv2D(3, 3, padding="same", use_bias=False)
    return Model(inputs, standardizing(Model)(make_again(convolution)(convolution(inputs))))


def in_a_lambda():
    return shared_with_a_layer_that_computes_it_again(
        lambda convolution: keras.layers.Lambda(
            lambda x: tf.recompute_grad(convolution)(x), output_shape=(8, 8, 3)
        )
    )


def of_a_scope():
    inputs = keras.Input((8, 8, 3))
    with keras.RematScope(mode="list_of_layers", layer_names=["again"]):
        x = bit_keras.StandardizedConv2D(3, 3, padding="same", name="again")(inputs)
    return Model(inputs, standardizing(Model)(x))


@pytest.mark.parametrize(
    "make",
    [
        Rematerialized,
        shared_with_a_layer_that_computes_it_again,
        in_a_lambda,
        of_a_scope,
        lambda: standardizing(OtherWeights),
        masked,
    ],
    ids=["computed again", "in a layer", "in a Lambda", "of a scope", "other weights", "masked"],
)
def test_kernels_that_are_not_the_layers_own_get_the_gradient_of_the_whole_batch(make):
    images, labels = program.samples(8)
    found = []
    for slices in (1, 3):
        keras.utils.set_random_seed(8)
        model = split(program.compiled(make()), slices)
        model.build(images.shape)
        before = program.weights(model)
        model.fit(images, labels, batch_size=8, shuffle=False, verbose=0)
        moved = [name for name, v in program.weights(model).items() if (v != before[name]).any()]
        found.append({name: program.weights(model)[name] for name in moved})
    assert difference(found[1], found[0]) < TOLERANCE


@pytest.mark.slow
def test_kernels_are_standardized_before_the_loop_and_not_in_it():
    model = bit_keras.ResNetV2((1, 1, 1, 1), 0.5, classes=3, input_shape=(32, 32, 3))
    split(program.compiled(model), 4)
    images, labels = map(tf.constant, program.samples(8, size=32))
    step = tf.function(lambda data: split_train_step(model, data, 4))
    definition = step.get_concrete_function((images, labels)).graph.as_graph_def()

    def number(nodes):
        return sum(node.op.startswith("FusedBatchNorm") for node in nodes)

    convolutions = sum(isinstance(x, bit_keras.StandardizedConv2D) for x in model.layers)
    assert number(definition.node) == 2 * convolutions  # there, and back
    assert not any(number(function.node_def) for function in definition.library.function)


# The setting


def test_it_takes_effect_between_two_fits_and_no_file_holds_it(tmp_path):
    images, labels = program.samples(8)
    model = program.compiled(program.network(Model))
    model.fit(images, labels, verbose=0)
    calls = []
    model.call = lambda *args, call=model.call, **kwargs: (
        calls.append(args[0].shape[0]) or call(*args, **kwargs)
    )
    split(model, np.int64(4)).fit(images, labels, batch_size=8, verbose=0)
    assert calls == [2]
    del model.call
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").batch_split == 1


@pytest.mark.parametrize("value", [0, -1, 2.0, "2", True, None])
def test_what_is_no_number_of_slices_is_refused(value):
    with pytest.raises(
        ValueError, match=re.escape(f"batch_split must be an integer of at least 1, got {value!r}")
    ):
        program.network(Model).batch_split = value


def test_another_backend_is_refused(monkeypatch):
    model = program.network(Model)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    model.batch_split = 1
    with pytest.raises(ValueError, match="TensorFlow backend, but the backend is 'jax'"):
        model.batch_split = 2


def test_a_train_step_of_its_own_is_refused():
    class OwnStep(Model):
        def train_step(self, data):
            return super().train_step(data)

    model = program.network(OwnStep)
    model.batch_split = 1
    with pytest.raises(ValueError, match=r"OwnStep, whose own train_step .* compute_loss"):
        model.batch_split = 2


@pytest.mark.parametrize(
    "losses",
    [
        [keras.losses.MeanSquaredError(), keras.losses.MeanSquaredError(reduction="sum")],
        [keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")] * 2,
        [keras.losses.MeanSquaredError(reduction=None)] * 2,
    ],
)
def test_losses_that_cannot_be_put_together_are_refused(losses):
    inputs = keras.Input((4,))
    model = Model(inputs, [keras.layers.Dense(1)(inputs) for _ in losses])
    model.compile("sgd", losses)
    x = np.ones((8, 4), "float32")
    with pytest.raises(ValueError, match="batch_split=3 with losses of reduction"):
        split(model).fit(x, [x[:, :1]] * 2, verbose=0)

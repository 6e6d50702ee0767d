"""bit_keras.Model under tf.distribute against keras.Model in one process, and against itself."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from unittest import mock

import distributed_program as program
import keras
import numpy as np
import pytest
import tensorflow as tf
from distributed_program import TOLERANCE, difference, fit_all
from marked import slow_except

from bit_keras.models.model import Model

REPLICAS_OPTIONS = sorted(program.OPTIONS.keys() - {"plain", "float64", "eager"})


# The same numbers as in one process


@pytest.mark.parametrize(
    "options", slow_except(["clipnorm, 3 steps an execution"], REPLICAS_OPTIONS)
)
def test_two_replicas_find_what_one_process_finds(mirrored, options):
    with mirrored.scope():
        model = program.compiled(program.network(Model), **program.OPTIONS[options]())
    assert difference(program.everything(model), program.stock(options)) < TOLERANCE


@pytest.mark.slow
def test_two_eager_replicas_find_what_one_process_finds(tmp_path):
    # In a process of its own: eager collective ops clash with those of any other strategy.
    output = tmp_path / "eager.npz"
    status = program.finish([program.start("2", "bit_keras", "eager", 2, output)])
    assert status == [0], output.with_suffix(".log").read_text()
    assert difference(np.load(output), program.stock("eager", steps=2)) < TOLERANCE


@pytest.mark.slow
def test_two_workers_find_what_one_process_finds(tmp_path):
    options = "clipnorm, 3 steps an execution"
    for status, log, output in program.run_workers(2, "bit_keras", options, tmp_path):
        assert status == 0, log
        assert difference(np.load(output), program.stock(options)) < TOLERANCE


@pytest.mark.parametrize(
    ("batch_size", "reduction"),
    [(7, "sum_over_batch_size"), pytest.param(8, "sum", marks=pytest.mark.slow)],
)
def test_batches_that_do_not_divide_weigh_each_sample_alike(mirrored, batch_size, reduction):
    images, labels = program.samples(37)

    def train(model):
        program.compiled(model, reduction, optimizer=keras.optimizers.SGD(0.02, momentum=0.9))
        arguments = {"batch_size": batch_size, "epochs": 2, "shuffle": False, "verbose": 0}
        model.fit(images, labels, **arguments)
        model.train_on_batch(images, labels)
        return program.weights(model)

    with mirrored.scope():
        model = program.network(Model)
        found = train(model)
    assert difference(found, train(program.network(keras.Model))) < TOLERANCE


@pytest.mark.filterwarnings("ignore:Your input ran out of data", "ignore:.shuffle=True. was passed")
def test_a_generator_gives_each_batch_to_one_step(mirrored):
    images, labels = program.samples(80)

    def batches():
        for first in range(0, 80, 8):
            yield images[first : first + 8], labels[first : first + 8]

    expected = program.compiled(program.network(keras.Model))
    expected.fit(images, labels, batch_size=8, shuffle=False, verbose=0)
    with mirrored.scope():
        model = program.compiled(program.network(Model))
    model.fit(batches(), verbose=0)
    assert model.optimizer.iterations.numpy() == 10
    assert difference(program.weights(model), program.weights(expected)) < TOLERANCE


def make_own_steps(model_class):
    class OwnSteps(model_class):
        """Weighs the loss by 3, tests with the labels shifted, predicts probabilities."""

        def train_step(self, data):
            images, labels = data
            with tf.GradientTape() as tape:
                outputs = self(images, training=True)
                loss = 3 * self.compute_loss(images, labels, outputs)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return self.compute_metrics(images, labels, outputs)

        def test_step(self, data):
            images, labels = data
            return super().test_step((images, (labels + 1) % 3))

        def predict_step(self, data):
            return tf.nn.softmax(super().predict_step(data))

    return OwnSteps


@pytest.mark.slow
def test_a_subclass_may_have_its_own_steps(mirrored):
    images, labels = program.samples(80)

    def use(model):
        program.compiled(model, optimizer=program.sgd(global_clipnorm=0.05))
        history = model.fit(images, labels, batch_size=8, shuffle=False, verbose=0).history
        evaluated = model.evaluate(images[:37], labels[:37], batch_size=8, verbose=0)
        predicted = model.predict(images[:37], batch_size=8, verbose=0)
        np.testing.assert_allclose(predicted.sum(axis=-1), 1, rtol=1e-6)
        found = {"accuracy": history["accuracy"], "evaluate": evaluated, "predict": predicted}
        return found | program.weights(model)

    with mirrored.scope():
        found = use(program.network(make_own_steps(Model)))
    assert difference(found, use(program.network(make_own_steps(keras.Model)))) < TOLERANCE


def test_callbacks_are_called_as_in_one_process(mirrored):
    images, labels = program.samples(56)

    def calls(model):
        program.compiled(model, steps_per_execution=3)
        seen = []
        recorder = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs: seen.append((step, float(logs["loss"]))),
            on_epoch_end=lambda epoch, logs: seen.append((epoch, logs["accuracy"])),
        )
        model.fit(
            images, labels, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[recorder]
        )
        return seen

    with mirrored.scope():
        found = calls(program.network(Model))
    assert len(found) == 8
    np.testing.assert_allclose(found, calls(program.network(keras.Model)), rtol=TOLERANCE)


class Net(Model):
    """A subclass that defines `call`, and has no weights before it sees data."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.flatten = keras.layers.Flatten()
        self.dense = keras.layers.Dense(
            units, kernel_initializer=keras.initializers.GlorotUniform(seed=3), name="dense"
        )

    def call(self, inputs):
        return self.dense(self.flatten(inputs))


def test_a_subclass_with_call_is_built_by_fit(mirrored):
    expected = program.compiled(Net())
    with mirrored.scope():
        model = program.compiled(Net())
    for each in (expected, model):
        fit_all(37)(each)
    assert difference(program.weights(model), program.weights(expected)) < TOLERANCE


def test_xla_compiles_on_one_device():
    images, labels = program.samples(16)
    found = []
    for strategy in (tf.distribute.OneDeviceStrategy("CPU:0"), tf.distribute.get_strategy()):
        with strategy.scope():
            model = program.compiled(program.network(Model), jit_compile=True)
        model.fit(images, labels, batch_size=8, shuffle=False, verbose=0)
        assert model.jit_compile
        found.append(program.weights(model))
    assert difference(*found) < TOLERANCE


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"jit_compile": True}, "jit_compile=True .* MirroredStrategy with 2 replicas"),
        (
            {"gradient_accumulation_steps": 2},
            r"gradient_accumulation_steps=2 .* model\.batch_split",
        ),
        ({"use_ema": True, "ema_overwrite_frequency": 5}, "ema_overwrite_frequency=5 .* None"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_what_replicas_cannot_do_is_refused(mirrored, arguments, message, method):
    arguments = dict(arguments)
    compile_arguments = {name: arguments.pop(name) for name in ["jit_compile"] if name in arguments}
    images, labels = program.samples(8)
    with mirrored.scope():
        optimizer = keras.optimizers.LossScaleOptimizer(program.sgd(**arguments))
        model = program.compiled(program.network(Model), optimizer=optimizer, **compile_arguments)
    data = [images] if method == "predict" else [images, labels]
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(*data, verbose=0)


def test_a_mean_over_weights_is_refused(mirrored):
    with mirrored.scope():
        model = program.compiled(program.network(Model), "mean_with_sample_weight")
    with pytest.raises(ValueError, match="divide the weights by their mean"):
        model.fit(*program.samples(8), verbose=0)


def test_parameter_servers_are_refused():
    strategy = mock.Mock(spec=tf.distribute.ParameterServerStrategy)
    with (
        mock.patch.object(tf.distribute, "get_strategy", return_value=strategy),
        pytest.raises(NotImplementedError, match=r"ParameterServerStrategy\. .* Use Multi"),
    ):
        Net()


# A model like any other


def test_a_fit_leaves_nothing_on_the_optimizer(mirrored):
    with mirrored.scope():
        model = program.compiled(program.network(Model))
        model.optimizer.build(model.trainable_variables)
    before = set(vars(model.optimizer))
    fit_all(8)(model)
    assert set(vars(model.optimizer)) == before


class Graph(Model):
    """A functional subclass with a constructor of its own."""

    def __init__(self, units=3, name=None):
        inputs = keras.Input((4,))
        super().__init__(inputs=inputs, outputs=keras.layers.Dense(units)(inputs), name=name)
        self.units = units

    def get_config(self):
        return {"units": self.units, "name": self.name}


def graph():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, trainable=False, name="frozen")(inputs)
    return Model(inputs, keras.layers.Dense(3, name="head")(x), name="graph")


@pytest.mark.parametrize("order", [(graph, Net, Graph), (Graph, graph, Net), (Net, Graph, graph)])
def test_graphs_and_subclasses_do_not_disturb_one_another(order):
    for make in order:
        model = make()
        assert isinstance(model, Model)
        assert model.predict(np.ones((2, 4), "float32"), verbose=0).shape == (2, 3)
    # What Keras' own injection would have done to every subclass.
    assert "Functional" not in [base.__name__ for base in Net.__mro__]


def saved(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


@pytest.mark.parametrize(
    "copy",
    [
        saved,
        lambda model, _: pickle.loads(pickle.dumps(model)),
        lambda model, _: type(model).from_config(model.get_config()),
        lambda model, _: Model.from_config(model.get_config()),
        lambda model, _: keras.models.clone_model(model),
    ],
    ids=["saved", "pickled", "from_config", "Model.from_config", "cloned"],
)
def test_a_copy_of_a_graph_is_a_model_with_the_same_layers_frozen(copy, tmp_path):
    model = graph()
    again = copy(model, tmp_path)
    again.set_weights(model.get_weights())
    x = np.arange(8, dtype="float32").reshape(2, 4)
    assert isinstance(again, Model)
    assert again.name == "graph"
    assert [layer.trainable for layer in again.layers] == [
        layer.trainable for layer in model.layers
    ]
    assert not again.get_layer("frozen").trainable
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_saved_model_goes_on_training_in_a_strategy(mirrored, tmp_path):
    images, labels = program.samples(80)
    reference = program.compiled(program.network(Model))
    reference.fit(images, labels, batch_size=8, shuffle=False, verbose=0)
    reference.save(tmp_path / "model.keras")
    with mirrored.scope():
        model = keras.saving.load_model(tmp_path / "model.keras")
    for each in (reference, model):
        each.fit(images, labels, batch_size=8, shuffle=False, verbose=0)
    assert model.optimizer.iterations.numpy() == 20
    assert difference(program.weights(model), program.weights(reference)) < TOLERANCE


@pytest.mark.peer  # Keras' numpy backend needs jax.
def test_another_backend_has_a_plain_model():
    code = (
        "import keras, sys; from bit_keras.models.model import Model;"
        "inputs = keras.Input((4,)); model = Model(inputs, keras.layers.Dense(3)(inputs));"
        "print(keras.backend.backend(), model.predict(keras.ops.ones((2, 4)), verbose=0).shape)"
    )
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code]
    output = subprocess.check_output(command, env=environment, cwd=root, timeout=120, text=True)
    assert output.split("\n")[-2] == "numpy (2, 3)"

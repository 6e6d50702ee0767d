"""Faults of stock Keras that `bit_keras.Model` mends; a test fails when Keras mends one itself."""

import distributed_program as program
import keras
import numpy as np
import pytest
from distributed_program import TOLERANCE, difference, fit_all

from bit_keras.models.model import Model

CANARY = "stock Keras no longer needs bit_keras.Model's {}: delete it"


class Counted(keras.layers.Layer):
    """Counts its calls, of which a compiled model makes one for each trace of a step."""

    calls = 0

    def call(self, inputs):
        Counted.calls += 1
        return inputs


@pytest.mark.parametrize("method", ["fit", "evaluate"])
@pytest.mark.parametrize(("model_class", "traces"), [(Model, 1), (keras.Model, 2)])
def test_a_step_is_traced_once(model_class, traces, method):
    inputs = keras.Input((4,))
    model = model_class(inputs, keras.layers.Dense(3)(Counted()(inputs)))
    program.compiled(model)
    before = Counted.calls
    getattr(model, method)(np.ones((8, 4), "float32"), np.zeros(8, "int32"), verbose=0)
    assert Counted.calls - before == traces, CANARY.format("_traces_stock_steps")
    assert model.optimizer.built is (method == "fit")  # Its variables take memory.


@pytest.mark.slow
def test_canary_workers(tmp_path):
    for status, log, _ in program.run_workers(2, "keras", "plain", tmp_path):
        assert status != 0, CANARY.format("override of make_train_function")
        assert "PerReplica" in log, log


@pytest.mark.slow
def test_canary_steps_per_execution(tmp_path):
    # In a process of its own: the failed collective ops would fail those of later tests.
    output = tmp_path / "stock.npz"
    status = program.finish(
        [program.start("2", "keras", "clipnorm, 3 steps an execution", 4, output)]
    )
    assert status != [0], CANARY.format("loop over steps_per_execution")
    assert "must feed a value for placeholder" in output.with_suffix(".log").read_text()


def stock_difference(strategy, train, **compile_arguments):
    expected = program.compiled(program.network(keras.Model), **compile_arguments)
    with strategy.scope():
        optimizer = type(expected.optimizer).from_config(expected.optimizer.get_config())
        model = program.compiled(
            program.network(keras.Model), **{**compile_arguments, "optimizer": optimizer}
        )
    train(expected)
    train(model)
    return difference(program.weights(model), program.weights(expected))


def test_canary_clipping(mirrored):
    optimizer = program.sgd(global_clipnorm=0.05)
    wrong = stock_difference(mirrored, fit_all(80), optimizer=optimizer)
    assert wrong > 100 * TOLERANCE, CANARY.format("all-reduce of gradients before clipping")


def test_canary_uneven_batches(mirrored):
    wrong = stock_difference(mirrored, fit_all(37))
    assert wrong > 100 * TOLERANCE, CANARY.format("weight of a replica's gradient")


def test_canary_train_on_batch(mirrored):
    data = program.samples(8)
    wrong = stock_difference(mirrored, lambda model: model.train_on_batch(*data), reduction="sum")
    assert wrong > 100 * TOLERANCE, CANARY.format("sharing out of a batch by train_on_batch")


def test_canary_predict_on_batch(mirrored):
    with mirrored.scope():
        model = program.network(keras.Model)
    answers = len(model.predict_on_batch(program.samples(3)[0]))
    assert answers == 6, CANARY.format("override of predict_on_batch")


@pytest.mark.filterwarnings("ignore:Your input ran out of data", "ignore:.shuffle=True. was passed")
def test_canary_generator(mirrored):
    images, labels = program.samples(80)
    with mirrored.scope():
        model = program.compiled(program.network(keras.Model))
    model.fit(((images[i : i + 8], labels[i : i + 8]) for i in range(0, 80, 8)), verbose=0)
    assert model.optimizer.iterations.numpy() < 10, CANARY.format("_maybe_symbolic_build")

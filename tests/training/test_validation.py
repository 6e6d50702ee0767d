"""Evaluation while training: right, and without a trace in what is trained."""

import dataclasses
import json
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from marked import slow_except
from networks import quick
from training.stopped import planned_configuration, stopped_at

import bit_keras
from bit_keras.data import subsets
from bit_keras.training import callbacks
from bit_keras.training.callbacks import LearningCurve

pytestmark = pytest.mark.usefixtures("no_drawing")

BUDGET = {"steps": 5, "batch_size": 8, "base_lr": 0.01}


@keras.saving.register_keras_serializable(package="tests")
class Noise(keras.layers.Layer):
    """Adds noise also when it does not train."""

    def __init__(self, scale=0.0, **arguments):
        super().__init__(**arguments)
        self.scale = scale
        self.generator = keras.random.SeedGenerator(3)

    def call(self, inputs):
        return inputs + self.scale * keras.random.normal(
            keras.ops.shape(inputs), seed=self.generator
        )


def network(noise=0.0):
    """A network of one's own with all that an evaluation could move."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=2)(inputs)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = Noise(noise)(keras.layers.ReLU()(x))
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x), name="mine")


def finetune(model, output_dir, task="digits", **arguments):
    budget = {**BUDGET, "resize": 36, "crop": 32}
    return bit_keras.finetune(
        model, task, budget=budget, output_dir=output_dir, verbose=False, **arguments
    )


def variables(model):
    return [keras.ops.convert_to_numpy(variable.value) for variable in model.variables]


def test_training_goes_on_as_if_nothing_had_been_evaluated(tmp_path):
    result = finetune(network(noise=0.1), tmp_path / "with", eval_every=2, held_out=0.1)
    task, _ = subsets.hold_out(bit_keras.task("digits"), 0.1, seed=0)
    alone = finetune(network(noise=0.1), tmp_path / "without", task)
    for a, b in zip(variables(result.model), variables(alone.model), strict=True):
        np.testing.assert_array_equal(a, b)
    points = result.history.pop("validation")
    assert result.history == alone.history
    assert points["step"] == [2, 4, 5]
    assert {len(values) for values in points.values()} == {3}
    assert result.metrics["test_loss"] == alone.metrics["test_loss"]
    assert "validation_accuracy" not in alone.metrics


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("runs") / "evaluated"
    return finetune(network(), output_dir, eval_every=2, held_out=0.1)


@pytest.fixture(scope="module")
def evaluated_variables(evaluated):
    return variables(evaluated.model)  # before another prediction moves its generators


@pytest.mark.usefixtures("evaluated_variables")
def test_the_points_are_those_of_the_held_out_examples(evaluated, tmp_path, monkeypatch):
    task, held = subsets.hold_out(bit_keras.task("digits"), 0.1, seed=0)
    assert evaluated.metrics["configuration"]["num_examples"] == task.num_examples
    assert evaluated.metrics["num_validation_examples"] == held.num_examples
    held_task = dataclasses.replace(task, test=held)
    rule = bit_keras.HyperRule(**evaluated.metrics["configuration"]["rule"])

    def assert_point(place, model):
        expected = bit_keras.evaluate(model, held_task, rule)
        points = evaluated.history["validation"]
        assert points["accuracy"][place] == expected["test_accuracy"]
        assert points["loss"][place] == pytest.approx(expected["test_loss"], rel=1e-6)

    assert_point(-1, evaluated.model)
    assert (
        evaluated.metrics["validation_accuracy"] == evaluated.history["validation"]["accuracy"][-1]
    )

    # The network as it is after step 2, where another run is stopped.
    stock = LearningCurve.on_train_batch_end

    def stop(self, batch, logs):
        stock(self, batch, logs)
        self.model.stop_training = self.step == 2

    model = network()
    monkeypatch.setattr(LearningCurve, "on_train_batch_end", stop)
    finetune(model, tmp_path, eval_every=2, held_out=0.1)
    assert_point(0, model)


def test_what_it_leaves(evaluated):
    record = json.loads((evaluated.output_dir / "history.json").read_text())
    assert record == evaluated.history
    (events,) = (evaluated.output_dir / "tensorboard").iterdir()
    found = {"validation_loss": [], "validation_accuracy": []}
    for event in tf.compat.v1.train.summary_iterator(str(events)):
        for value in event.summary.value:
            if value.tag in found:
                found[value.tag].append((event.step, float(tf.make_ndarray(value.tensor))))
    points = record["validation"]
    for name in ("loss", "accuracy"):
        steps, values = zip(*found[f"validation_{name}"], strict=True)
        assert list(steps) == points["step"] == [2, 4, 5]
        np.testing.assert_allclose(values, points[name], rtol=1e-6)


def test_a_finished_run_is_reopened_with_its_points(evaluated):
    again = finetune(network(), evaluated.output_dir, eval_every=2, held_out=0.1)
    assert again.history == evaluated.history
    with pytest.raises(ValueError, match="eval_every is 2 there and 3 here"):
        finetune(network(), evaluated.output_dir, eval_every=3, held_out=0.1)
    with pytest.raises(ValueError, match=r"held_out is 0\.1 there and 0\.2 here"):
        finetune(network(), evaluated.output_dir, eval_every=2, held_out=0.2)


@pytest.mark.parametrize("when", ["step", "evaluation"])
@pytest.mark.parametrize("step", slow_except([5], [2, 5]))
def test_an_evaluation_that_was_interrupted_is_made_later(
    when, step, evaluated, evaluated_variables, tmp_path, monkeypatch
):
    owner, name = {
        "step": (LearningCurve, "on_train_batch_end"),
        "evaluation": (callbacks._StopAt, "on_predict_batch_end"),
    }[when]
    stock = getattr(owner, name)

    def signalled(self, batch, logs):
        curve = self if when == "step" else self.interruption.curve
        if when == "evaluation" and curve.step == step:
            signal.raise_signal(signal.SIGINT)
        stock(self, batch, logs)
        if when == "step" and self.step == step:
            signal.raise_signal(signal.SIGINT)

    def remember(self, held_out, curve, interruption, log):
        interruption.curve = curve
        init(self, held_out, curve, interruption, log)

    init = callbacks.Validation.__init__
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, signalled)
            patch.setattr(callbacks.Validation, "__init__", remember)
            with pytest.raises(KeyboardInterrupt):
                finetune(network(), tmp_path, eval_every=2, held_out=0.1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "metrics.json").exists()
    result = finetune(network(), tmp_path, eval_every=2, held_out=0.1)
    assert result.history == evaluated.history
    for a, b in zip(variables(result.model), evaluated_variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eval_every": 0}, "eval_every must be an integer of at least 1"),
        ({"eval_every": -3}, "eval_every must be an integer"),
        ({"eval_every": 2, "held_out": 0.0}, r"held_out=0\.0; expected a fraction above 0"),
        ({"eval_every": 2, "held_out": 1.0}, r"held_out=1\.0; expected"),
        ({"held_out": 0.5}, "without eval_every, but no examples are held out"),
        ({"eval_every": 2, "held_out": 1e-4}, "is 0 of them"),
        ({"eval_every": 2, "held_out": 0.9, "examples_per_class": 40}, "training examples"),
    ],
)
def test_what_cannot_be_done_leaves_nothing(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        finetune("R14x0.5", tmp_path / "run", **arguments)
    assert not list(tmp_path.iterdir())


def test_the_rule_counts_what_is_trained_on(tmp_path):
    images = np.zeros((20_400, 1, 1, 3), "uint8")
    labels = np.arange(20_400) % 2

    def examples(count):
        return bit_keras.data.tasks.Examples(
            count,
            lambda: tf.data.Dataset.from_tensor_slices(
                {"image": images[:count], "label": labels[:count]}
            ),
            lambda element: element,
            labels[:count],
        )

    task = bit_keras.data.tasks.Task("many", ("a", "b"), (1, 1), examples(20_400), examples(2))
    all_trained = planned_configuration(quick(2), task, output_dir=tmp_path / "all")
    assert all_trained["rule"]["steps"] == 10_000
    # 408 of them are held out.
    fewer = planned_configuration(quick(2), task, output_dir=tmp_path / "fewer", eval_every=100)
    assert fewer["rule"]["steps"] == 500
    assert fewer["num_examples"] == 19_992


def test_a_run_with_a_validation_split_goes_on(tmp_path, monkeypatch):
    digits = bit_keras.task("digits")
    task = dataclasses.replace(digits, validation=digits.test)
    with stopped_at(3, monkeypatch):
        finetune(network(), tmp_path, task, eval_every=2)
    result = finetune(network(), tmp_path, task, eval_every=2)
    assert result.history["step"] == [1, 2, 3, 4, 5]
    assert result.metrics["configuration"]["held_out"] is None
    assert result.metrics["num_validation_examples"] == digits.num_test_examples
    again = finetune(network(), tmp_path, task, eval_every=2)
    assert again.history == result.history


def test_the_held_out_fraction_is_recorded_only_if_it_is_used(tmp_path):
    for eval_every, recorded in ((None, None), (2, 0.02)):
        planned = planned_configuration(
            quick(10), "digits", output_dir=tmp_path / str(eval_every), eval_every=eval_every
        )
        assert planned["held_out"] == recorded

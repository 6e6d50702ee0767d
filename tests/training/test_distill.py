"""Distillation: the loss, the teacher left alone, going on, and the student's files."""

import json
import os

import keras
import numpy as np
import pytest
from array_tasks import array_task
from networks import QuickResNet, quick, randomize, tiny
from training.stopped import stopped_at
from training.upstream_data import FILES, assert_close, assert_equal, fashion, noise_task, values

import bit_keras
from bit_keras.training.distiller import Distiller
from bit_keras.training.teachers import Teacher

pytestmark = pytest.mark.usefixtures("no_drawing")

BUDGET = {"steps": 4, "batch_size": 8, "base_lr": 0.02, "warmup_steps": 1}


def teacher(dtype=None):
    return randomize(quick(3, name="teacher", dtype=dtype), seed=1)


def network():
    keras.utils.set_random_seed(0)
    return QuickResNet(classes=3)


def distill(output_dir, student=None, task=None, **arguments):
    arguments = {"budget": BUDGET, **arguments}
    return bit_keras.distill(
        arguments.pop("teacher", teacher),
        student or network(),
        task or noise_task(),
        output_dir=output_dir,
        verbose=False,
        **arguments,
    )


def dense(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def as_teacher(model):
    def teach(inputs):
        return {"logits": model(inputs, training=False)}

    return Teacher("teacher", "", teach, {"logits": 3}, in_pipeline=False)


def probabilities(logits):
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_and_its_gradient(temperature):
    master, student = dense(0), dense(1)
    distiller = Distiller(student, as_teacher(master), temperature)
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    said, learned = (
        probabilities(net(x).numpy().astype("float64") / temperature) for net in (master, student)
    )
    divergence = temperature**2 * (said * np.log(said / learned)).sum(1).mean()
    y = np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]]
    loss = distiller.compute_loss(x, y, distiller(x))
    assert float(loss) == pytest.approx(divergence, rel=1e-5)
    kernel, bias = (weight.numpy().astype("float64") for weight in student.weights)
    distiller.compile(keras.optimizers.SGD(0.5), jit_compile=False)
    distiller.fit(x, y, batch_size=6, verbose=0)
    gradient = temperature * (learned - said) / len(x)
    np.testing.assert_allclose(student.weights[0], kernel - 0.5 * x.T @ gradient, rtol=1e-4)
    np.testing.assert_allclose(student.weights[1], bias - 0.5 * gradient.sum(0), atol=1e-6)


def test_a_student_that_is_sure_and_wrong_learns():
    """The teacher is sure of class 0, the student of class 1 by 30 nats."""
    master, student = dense(0), dense(1)
    master.set_weights([np.zeros((4, 3)), np.array([9, 0, 0])])
    student.set_weights([np.zeros((4, 3)), np.array([0, 30, 0])])
    distiller = Distiller(student, as_teacher(master))
    x = np.zeros((2, 4), "float32")
    distiller.compile(keras.optimizers.SGD(1.0), jit_compile=False)
    distiller.fit(x, np.eye(3, dtype="float32")[:2], verbose=0)
    assert student.get_weights()[1][0] > 0.99

    # Keras 3.15's own clips its probabilities: the gradient is gone.
    student.set_weights([np.zeros((4, 3)), np.array([0, 30, 0])])
    losses = keras.distillation.LogitsDistillation(temperature=1.0)
    stock = keras.distillation.Distiller(master, student, losses, student_loss_weight=0.0)
    stock.compile(keras.optimizers.SGD(1.0), loss="mse", jit_compile=False)
    stock.fit(x, np.eye(3, dtype="float32")[:2], verbose=0)
    assert student.get_weights()[1][0] < 0.01, "keras.distillation is mended: see distill.py"


def test_the_teacher_is_no_part_of_it():
    master, student = dense(0), dense(1)
    distiller = Distiller(student, as_teacher(master))
    assert [id(weight) for weight in distiller.weights] == [
        id(weight) for weight in student.weights
    ]
    assert distiller.layers == [student]


def test_a_float16_loss_is_scaled():
    student = QuickResNet(dtype="mixed_float16")
    distiller = Distiller(student, as_teacher(teacher()))
    distiller.compile("sgd")
    assert isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.mark.slow
def test_replicas_leave_the_run_the_same(mirrored, tmp_path):
    # In float64: what float32 rounds grows in a deep network.
    arguments = {"dtype": "float64", "eval_every": 2, "held_out": 0.25}
    arguments["teacher"] = lambda: teacher("float64")
    plain = distill(tmp_path / "plain", "R14x0.5", strategy="one", **arguments)
    arguments |= {"strategy": "mirrored", "batch_split": 2}
    shared = distill(tmp_path / "shared", "R14x0.5", **arguments)
    assert shared.model.distribute_strategy is mirrored
    assert_close(shared, plain)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    master = teacher()
    before = values(master)
    output_dir = tmp_path_factory.mktemp("runs") / "run"
    result = distill(output_dir, "R14x0.5", teacher=master, eval_every=2, held_out=0.2)
    assert_equal(values(master), before)
    return result


def test_what_a_run_leaves(run):
    assert set(os.listdir(run.output_dir)) == FILES
    configuration = run.metrics["configuration"]
    assert (configuration["command"], configuration["teacher"]) == ("distill", "teacher")
    assert configuration["weights"] == "random"
    assert configuration["rule"]["mixup_alpha"] == 1
    assert type(run.model) is bit_keras.ResNetV2
    saved = keras.models.load_model(run.output_dir / "model.keras")
    assert_equal(values(saved), values(run.model))
    loaded = tiny(classes=3)
    bit_keras.load_npz(loaded, run.output_dir / "weights.npz")
    assert_equal(values(loaded), values(run.model))
    assert run.history["validation"]["step"] == [2, 4]


def test_the_loss_at_the_end_is_the_divergence_on_the_test_images(run):
    task = noise_task()
    arrays = np.stack([e["image"] for e in task.test.dataset().as_numpy_iterator()])
    arrays = keras.ops.image.resize(arrays.astype("float32"), (32, 32))
    said, learned = (
        probabilities(net.predict(bit_keras.preprocess_input(arrays), verbose=0).astype("float64"))
        for net in (teacher(), run.model)
    )
    divergence = (said * np.log(said / learned)).sum(1).mean()
    assert run.metrics["test_loss"] == pytest.approx(divergence, rel=1e-3)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch):
    alone = distill(tmp_path / "alone", eval_every=2, held_out=0.2)
    with stopped_at(3, monkeypatch):
        distill(tmp_path / "stopped", eval_every=2, held_out=0.2)
    result = distill(tmp_path / "stopped", eval_every=2, held_out=0.2)
    assert_equal(values(result.model), values(alone.model))
    assert result.history == alone.history
    other = randomize(quick(3, name="teacher"), seed=2)
    with pytest.raises(ValueError, match="teacher_sha256 is"):
        distill(tmp_path / "stopped", teacher=other, eval_every=2, held_out=0.2)


def test_every_step_is_one_of_mixtures(tmp_path, monkeypatch):
    seen = []

    def fit(trained, batches, *_, **__):
        seen.extend(labels.numpy() for _, labels in batches(0))
        raise KeyboardInterrupt

    monkeypatch.setattr("bit_keras.training.run.fit", fit)
    # Each image is a class of its own, so that a mixture has two.
    task = array_task(np.random.default_rng(0).integers(0, 256, [40, 20, 24, 3], np.uint8))
    with pytest.raises(KeyboardInterrupt):
        distill(tmp_path, QuickResNet(40), task=task, teacher=lambda: quick(40))
    assert len(seen) == BUDGET["steps"]
    for labels in seen:
        assert ((labels > 0).sum(axis=1) == 2).all()
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-5)
    assert len({labels.max() for labels in seen}) == len(seen)  # each with a weight of its own


def test_the_initial_weights_are_recorded_as_in_fine_tuning(tmp_path, monkeypatch):
    def planned(student):
        with pytest.raises(KeyboardInterrupt):
            distill(tmp_path / "run", student)
        return json.loads((tmp_path / "run" / "config.json").read_text())

    def fit(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("bit_keras.training.run.fit", fit)
    configuration = planned(network())
    assert configuration["weights"] == "given"
    # A run that an earlier version began goes on.
    configuration["weights"] = "random"
    (tmp_path / "run" / "config.json").write_text(json.dumps(configuration))
    assert planned(network()) == configuration
    with pytest.raises(ValueError, match="weights is 'random' there and 'distilled-224' here"):
        distill(tmp_path / "run", "BiT-M-R50x1", pretrained="distilled-224")


def test_what_is_announced(tmp_path, monkeypatch, capsys):
    def fit(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("bit_keras.training.run.fit", fit)
    arguments = {"output_dir": tmp_path, "eval_every": 2, "held_out": 0.2, "budget": BUDGET}
    with pytest.raises(KeyboardInterrupt):
        bit_keras.distill(teacher, network(), noise_task(), **arguments)
    first, second, *others = capsys.readouterr().out.splitlines()
    assert first.endswith("(given weights) on arrays: 3 classes, 32 training and 40 test images")
    assert second.startswith("4 steps of 8 images at 32 pixels, kl loss")
    assert others[-1] == "Every 2 steps it is evaluated on 8 training images that are held out."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature=0"),
        ({"teacher": lambda: quick(5)}, "gives .None, 5.*Build it with classes=3"),
        ({"student": QuickResNet(4)}, "Build it with classes=3"),
        ({"budget": {**BUDGET, "loss": "softmax"}}, "in pre-training"),
        ({"budget": {"steps": 2}}, "warmup_steps must be"),
    ],
)
def test_what_cannot_be_done_leaves_nothing(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        distill(tmp_path / "run", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_fashion_mnist(tmp_path):
    upstream = bit_keras.pretrain(
        "R14x0.5",
        fashion(),
        output_dir=tmp_path / "teacher",
        budget={"steps": 600},
        verbose=False,
    )
    result = bit_keras.distill(
        upstream.model,
        "R14x0.5",
        fashion(),
        output_dir=tmp_path / "student",
        budget={"steps": 600},
        verbose=False,
    )
    first, last = (np.mean(result.history["loss"][part]) for part in (slice(0, 5), slice(-5, None)))
    assert last < 0.3 * first
    assert result.metrics["test_accuracy"] > upstream.metrics["test_accuracy"] - 0.05

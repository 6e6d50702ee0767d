"""Fine-tuning end to end, on small tasks."""

import contextlib
import dataclasses
import io
import json
import os
import shutil

import keras
import numpy as np
import pictures
import pytest
import tensorflow as tf
from networks import quick, randomize, shrink, tiny
from training.stopped import planned_configuration

import bit_keras
from bit_keras.training import recipes

FAST = {"steps": 6, "batch_size": 8, "resize": 36, "crop": 32}
FILES = {
    "config.json",
    "history.json",
    "learning_curve.png",
    "task.json",
    "metrics.json",
    "model.keras",
    "predictions.png",
    "tensorboard",
}


def weights(model):
    return [keras.ops.convert_to_numpy(weight.value) for weight in model.weights]


def assert_equal(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def small(output_dir, **arguments):
    arguments = {"model": "R14x0.5", "task": "digits", "budget": FAST, **arguments}
    return bit_keras.finetune(output_dir=output_dir, verbose=False, **arguments)


@pytest.fixture
def no_pictures():
    """Like `no_drawing`, but the module fixture `run` has its pictures, which a test looks at."""
    with pictures.one_pixel():
        yield


@pytest.fixture(scope="module")
def again(run, tmp_path_factory):
    """The run of `run` in another directory, and what it printed."""
    with pictures.one_pixel(), contextlib.redirect_stdout(io.StringIO()) as said:
        result = bit_keras.finetune(
            "R14x0.5", "digits", budget=FAST, output_dir=tmp_path_factory.mktemp("runs") / "again"
        )
    return result, said.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small(tmp_path_factory.mktemp("runs") / "first")


def test_what_a_run_leaves(run):
    assert set(os.listdir(run.output_dir)) == FILES
    metrics = json.loads((run.output_dir / "metrics.json").read_text())
    assert metrics == run.metrics
    assert metrics["num_test_examples"] == 360
    assert 0 <= metrics["test_accuracy"] <= 1
    assert metrics["seed"] == 0
    assert metrics["versions"]["keras"] == keras.__version__
    assert metrics["configuration"]["rule"]["steps"] == 6
    assert run.history["step"] == [1, 2, 3, 4, 5, 6]
    for picture in ("learning_curve.png", "predictions.png"):
        image = tf.io.decode_png((run.output_dir / picture).read_bytes())
        assert min(image.shape[:2]) > 400
        assert float(tf.math.reduce_std(tf.cast(image, "float32"))) > 10


def test_tensorboard_events(run):
    (events,) = (run.output_dir / "tensorboard").iterdir()
    losses = [
        float(tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
        if value.tag == "loss"
    ]
    np.testing.assert_allclose(losses, run.history["loss"], rtol=1e-6)


def test_the_reported_accuracy_is_that_of_the_saved_model_on_the_whole_split(run):
    model = keras.models.load_model(run.output_dir / "model.keras")
    assert type(model) is bit_keras.ResNetV2
    assert_equal(weights(model), weights(run.model))
    task = bit_keras.task("digits")
    images = np.stack([e["image"] for e in task.test.dataset().as_numpy_iterator()])
    labels = np.stack([e["label"] for e in task.test.dataset().as_numpy_iterator()])
    resized = tf.image.resize(images, (32, 32)).numpy()
    logits = keras.ops.convert_to_numpy(model(bit_keras.preprocess_input(resized)))
    assert (logits.argmax(1) == labels).mean() == run.metrics["test_accuracy"]
    rule = bit_keras.HyperRule(**run.metrics["configuration"]["rule"])
    metrics = bit_keras.evaluate(model, task, rule)
    assert metrics["test_accuracy"] == run.metrics["test_accuracy"]
    assert metrics["test_loss"] == pytest.approx(run.metrics["test_loss"], rel=1e-6)


def test_the_same_seed_gives_the_same_numbers(run, again):
    assert_equal(weights(again[0].model), weights(run.model))
    assert again[0].history == run.history


@pytest.mark.usefixtures("no_pictures")
def test_another_seed_gives_other_numbers(tmp_path):
    zeros, ones = (
        small(tmp_path / str(seed), model=randomize(quick()), seed=seed) for seed in (0, 1)
    )
    assert zeros.history != ones.history


def test_a_finished_run_is_not_run_again(run, capsys):
    before = (run.output_dir / "metrics.json").stat().st_mtime_ns
    again = bit_keras.finetune("R14x0.5", "digits", budget=FAST, output_dir=run.output_dir)
    assert "nothing to do" in capsys.readouterr().out
    assert (run.output_dir / "metrics.json").stat().st_mtime_ns == before
    assert again.metrics == run.metrics
    assert again.history == run.history
    assert_equal(weights(again.model), weights(run.model))
    with pytest.raises(ValueError, match="seed is 0 there and 5 here"):
        small(run.output_dir, seed=5)


def test_a_damaged_network_of_a_finished_run_is_refused_in_words(run, tmp_path):
    copy = shutil.copytree(run.output_dir, tmp_path / "run")
    (copy / "model.keras").write_bytes(b"PK?")
    with pytest.raises(ValueError, match=r"model\.keras cannot be loaded \(it is not a zip"):
        small(copy)
    (copy / "model.keras").unlink()
    with pytest.raises(ValueError, match=r"model\.keras is missing. Start anew"):
        small(copy)


def test_it_says_that_it_starts_from_random_weights(again):
    _, said = again
    assert "random weights" in said
    assert "not the BiT-HyperRule" in said
    assert "of all 360 test images" in said


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of photographs: dark ones and bright ones, of differing sizes."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for name, low in {"dark": 0, "bright": 150}.items():
        (root / name).mkdir()
        for i in range(10):
            pixels = rng.integers(low, low + 100, (20 + i, 30, 3)).astype("uint8")
            encoded = tf.io.encode_jpeg(pixels, quality=95).numpy()
            (root / name / f"{i}.jpg").write_bytes(encoded)
    return root


@pytest.mark.usefixtures("no_pictures", "eager")
def test_a_checkpoint_a_folder_and_the_hyperrule(folder, tmp_path, monkeypatch):
    shrink(monkeypatch)
    checkpoint = tmp_path / "weights.npz"
    bit_keras.save_npz(bit_keras.create("BiT-M-R50x1", classes=3), checkpoint)
    result = bit_keras.finetune(
        "BiT-M-R50x1",
        f"folder:{folder}",
        pretrained=checkpoint,
        budget={"steps": 5, "batch_size": 8, "resize": 40, "crop": 32, "base_lr": 0.01},
        output_dir=tmp_path / "run",
        verbose=False,
    )
    rule = result.metrics["configuration"]["rule"]
    assert (rule["mixup_alpha"], rule["momentum"], rule["boundaries"]) == (0, 0.9, [2, 3, 5])
    assert result.metrics["configuration"]["weights"] == str(checkpoint)
    assert result.metrics["num_test_examples"] == 4
    assert result.metrics["test_accuracy"] == 1
    assert result.model.output_shape == (None, 2)


def test_the_default_is_the_rule_of_the_paper(folder, tmp_path):
    for recipe in ("paper", "official"):
        configuration = planned_configuration(
            quick(2), f"folder:{folder}", recipe=recipe, output_dir=tmp_path / recipe
        )
        expected = bit_keras.HyperRule.for_task(16, (20, 30), recipe=recipe)
        assert configuration["rule"] == json.loads(json.dumps(dataclasses.asdict(expected)))
    assert not (tmp_path / "paper" / "metrics.json").exists()


@pytest.mark.usefixtures("no_pictures")
def test_a_network_of_your_own(tmp_path):
    model = randomize(quick())
    model.layers[1].trainable = False
    before = weights(model)
    result = small(tmp_path, model=model)
    assert result.model is model
    assert_equal(weights(model)[:-2], before[:-2])
    assert not np.array_equal(weights(model)[-2], before[-2])
    # Another network of that name is another run.
    with pytest.raises(ValueError, match="initial_state_sha256 is"):
        small(tmp_path, model=randomize(quick(), seed=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 3}, r"gives \(None, 3\).*Build it with classes=10"),
        ({"input_shape": (None, None, 1)}, "to take images"),
        ({"input_shape": (48, 48, 3)}, r"to take images \(None, 32, 32, 3\)"),
        ({"classifier_activation": "softmax"}, "ends in a softmax"),
    ],
)
def test_a_network_that_does_not_fit(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        small(tmp_path / "x", model=tiny(**arguments))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "mirrored"}, r"made under .*Make it in bit_keras\.strategy\('mirrored'\)"),
        ({"dtype": "mixed_bfloat16"}, "built with 'float32'. Build it with dtype='mixed_bfloat16'"),
    ],
)
def test_a_network_of_your_own_is_taken_as_it_is(arguments, message, mirrored, tmp_path):
    with pytest.raises(ValueError, match=message):
        small(tmp_path / "x", model=tiny(), **arguments)
    assert not (tmp_path / "x").exists()


def test_a_plain_keras_model_cannot_do_it_all(mirrored, tmp_path):
    def plain():
        inputs = keras.Input((32, 32, 3))
        return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))

    for arguments in ({"batch_split": 2}, {"remat": "block"}):
        with pytest.raises(ValueError, match="was asked for, but a Functional does not support it"):
            small(tmp_path / "x", model=plain(), **arguments)
    with mirrored.scope():
        model = plain()
    with pytest.raises(
        ValueError, match=r"does not train correctly on 2 replicas.*bit_keras\.Model"
    ):
        small(tmp_path / "x", model=model)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_replicas_and_less_memory_leave_the_run_the_same(mirrored, tmp_path):
    # In float64: what float32 rounds grows in a deep network.
    arguments = {"budget": {**FAST, "steps": 3}, "dtype": "float64"}
    plain = small(tmp_path / "plain", strategy="one", **arguments)
    other = small(
        tmp_path / "other", strategy="mirrored", batch_split=2, remat="block", **arguments
    )
    assert other.model.distribute_strategy is mirrored
    assert other.metrics["configuration"] == plain.metrics["configuration"]
    assert other.metrics["configuration"]["dtype"] == "float64"
    np.testing.assert_allclose(other.history["loss"], plain.history["loss"], rtol=1e-6)
    for found, wanted in zip(weights(other.model), weights(plain.model), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    # Asked for once more, another way of computing it is the same run.
    assert small(tmp_path / "other", strategy="one", **arguments).metrics == other.metrics
    with pytest.raises(ValueError, match="dtype is 'float64' there and 'float32' here"):
        small(tmp_path / "other", budget=arguments["budget"])


@pytest.mark.usefixtures("no_pictures")
def test_few_shots(tmp_path):
    result = small(tmp_path, model=quick(), examples_per_class=2)
    assert result.metrics["configuration"]["num_examples"] == 20
    assert result.metrics["num_test_examples"] == 360


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "BiT-M-R50"}, ValueError, "the nearest name is"),
        ({"task": "digit"}, ValueError, "Did you mean 'digits'"),
        ({"model": "BiT-M-R50x1", "recipe": "papr"}, ValueError, "Did you mean 'paper'"),
        ({"recipe": "official"}, ValueError, "this run starts from random weights"),
        ({"pretrained": "none.npz"}, FileNotFoundError, "There is no weight file none.npz"),
        ({"seed": -1}, ValueError, "seed must be an integer"),
        ({"seed": 1.5}, ValueError, "seed must be an integer of at least 0"),
        ({"seed": True}, ValueError, "seed must be an integer"),
        ({"keep": 1.5}, ValueError, "keep must be an integer of at least 1"),
        ({"eval_every": 2.5}, ValueError, "eval_every must be an integer"),
        ({"model": "BiT-M-R50x1", "pretrained": "none.npz"}, FileNotFoundError, "none.npz"),
        ({"model": "BiT-L-R50x1"}, ValueError, "never released"),
        ({"examples_per_class": 1000}, ValueError, "training examples"),
        ({"budget": {"crop": 64}}, ValueError, "crop must not be larger than resize"),
        ({"strategy": "mirored"}, ValueError, "expected 'auto', 'one'"),
        ({"batch_split": 0}, ValueError, "batch_split must be an integer"),
        ({"save_every": 0}, ValueError, "save_every must be an integer"),
        ({"keep": 0}, ValueError, "keep must be an integer"),
        ({"dtype": "float23"}, ValueError, "dtype='float23' is not a dtype policy"),
        ({"remat": "layer"}, ValueError, "'block'"),
    ],
)
def test_what_cannot_be_done_leaves_nothing(arguments, error, message, tmp_path):
    with pytest.raises(error, match=message):
        small(tmp_path / "run", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_diverging_run_says_so_and_is_not_finished(tmp_path):
    model = randomize(quick())
    # The bias of the head: after an earlier layer, some processors' ReLU turns NaN into 0.
    model.weights[-1].assign(np.full(model.weights[-1].shape, np.nan))
    with pytest.raises(FloatingPointError, match="loss is nan at step 1"):
        small(tmp_path, model=model)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.slow
def test_the_recipe_learns_the_digits(tmp_path):
    result = small(tmp_path, budget=None)
    assert recipes.FROM_SCRATCH.steps == result.history["step"][-1] == 300
    assert result.metrics["test_accuracy"] >= 0.95
    assert result.metrics["seconds"] < 300

"""Few-shot studies: points compared with independent computations, files, resuming."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from array_tasks import array_examples, array_task
from networks import randomize, shrink, tiny
from sklearn.linear_model import Ridge

import bit_keras
from bit_keras.cli.main import main
from bit_keras.data import subsets
from bit_keras.runs import run_directory
from bit_keras.training.callbacks import LearningCurve

pytestmark = pytest.mark.usefixtures("no_drawing", "no_collections")

SHOTS, SEEDS = (1, 2), (0, 3)
POINTS = [(count, seed) for count in SHOTS for seed in SEEDS]
FAST = {"steps": 3, "batch_size": 4, "resize": 36, "crop": 32}
FILES = {"config.json", "fewshot.md", "fewshot.png", "metrics.json"}


def small_task(classes=3, each=4, size=8):
    """Returns a task of noise; the classes differ in brightness."""
    rng = np.random.default_rng(0)
    labels = np.arange(classes * each) % classes
    images = [
        (rng.integers(0, 120, (len(labels), size, size, 3)) + 40 * labels[:, None, None, None])
        for _ in range(2)
    ]
    train, test = (array_examples(pixels.astype("uint8"), labels) for pixels in images)
    task = array_task(images[0].astype("uint8"), labels)
    return dataclasses.replace(task, train=train, test=test)


def network(classes=3):
    """Returns a very small network; without classes its output is its features."""
    keras.utils.set_random_seed(7)
    layers = [
        keras.Input((None, None, 3)),
        keras.layers.Conv2D(8, 5, strides=4, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
    ]
    layers += [keras.layers.Dense(classes)] if classes else []
    return keras.Sequential(layers, name="network")


def study(output_dir, probe=False, **arguments):
    defaults = {
        "task": small_task(),
        "shots": SHOTS,
        "seeds": SEEDS,
        "budget": {"crop": 32} if probe else FAST,
    }
    if "model" not in arguments:
        defaults["model"] = network(classes=None if probe else 3)
    return bit_keras.fewshot(
        output_dir=output_dir, probe=probe, verbose=False, **{**defaults, **arguments}
    )


def images_and_labels(examples):
    rows = list(examples.dataset().as_numpy_iterator())
    return np.stack([row["image"] for row in rows]), np.stack([row["label"] for row in rows])


def assert_record(result):
    metrics = json.loads((result.output_dir / "metrics.json").read_text())
    assert metrics == result.metrics
    assert [row["examples_per_class"] for row in metrics["table"]] == list(SHOTS)
    for row in metrics["table"]:
        values = row["test_accuracies"]
        assert values == result.accuracies[row["examples_per_class"]]
        assert len(values) == row["n"] == len(SEEDS)
        assert row["median"] == pytest.approx(np.median(values))
        assert row["std"] == pytest.approx(np.std(values, ddof=1))
    assert metrics["test_accuracy"] == metrics["table"][-1]["median"]
    assert metrics["num_test_examples"] == 12
    assert metrics["seed"] == list(SEEDS)
    assert metrics["configuration"]["command"] == "fewshot"
    assert metrics["versions"]["keras"] == keras.__version__
    table = (result.output_dir / "fewshot.md").read_text().splitlines()
    assert table[2] == "| examples per class | median ± std | seed 0 | seed 3 |"
    cells = [cell.strip() for cell in table[-1].split("|")[1:-1]]
    assert cells[0] == "2"
    assert [float(cell) for cell in cells[2:]] == pytest.approx(
        [100 * value for value in result.accuracies[2]], abs=0.005
    )


# By the linear probe.


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    model = randomize(tiny(classes=3))
    output_dir = tmp_path_factory.mktemp("runs") / "probe"
    return study(output_dir, model=model, probe=True), model


def test_the_files_of_a_probe(probed):
    result, _ = probed
    assert set(os.listdir(result.output_dir)) == FILES
    assert_record(result)
    assert result.metrics["configuration"]["method"] == "linear probe"


def test_each_point_of_a_probe_is_ridge_regression_on_few_shot_images(probed):
    result, model = probed
    task = small_task()

    network = keras.Model(model.input, model.endpoints["features"])

    def features(examples):
        images, labels = images_and_labels(examples)
        images = bit_keras.preprocess_input(tf.image.resize(images, (32, 32)).numpy())
        return keras.ops.convert_to_numpy(network(images)).astype("float64"), labels

    test, test_labels = features(task.test)
    for count, seed in POINTS:
        train, labels = features(subsets.few_shot(task, count, seed).train)
        mean, std = train.mean(0), train.std(0) + 1e-5
        x, x_test = (
            np.concatenate([(part - mean) / std, np.full((len(part), 1), 100)], axis=1)
            for part in (train, test)
        )
        ridge = Ridge(alpha=1024, fit_intercept=False, solver="svd")
        predicted = ridge.fit(x, 2 * np.eye(3)[labels] - 1).predict(x_test).argmax(1)
        accuracy = result.accuracies[count][SEEDS.index(seed)]
        assert accuracy == pytest.approx((predicted == test_labels).mean())


def test_a_probe_computes_the_features_of_each_needed_image_once(tmp_path, monkeypatch):
    seen = []
    stock = keras.Model.predict

    def predict(self, *arguments, **keywords):
        values = stock(self, *arguments, **keywords)
        seen.append(len(values))
        return values

    monkeypatch.setattr(keras.Model, "predict", predict)
    task, shots, seeds = small_task(), (1, 2), (0, 1)
    needed = {
        position
        for count in shots
        for seed in seeds
        for position in subsets.few_shot_positions(task, count, seed)
    }
    study(tmp_path, probe=True, shots=shots, seeds=seeds)
    assert seen == [len(needed), task.num_test_examples]
    assert len(needed) < task.num_examples


@pytest.mark.slow
def test_a_named_model_is_probed_without_its_head(tmp_path, monkeypatch):
    shrink(monkeypatch)
    checkpoint = tmp_path / "weights.npz"
    upstream = randomize(bit_keras.create("BiT-M-R50x1", classes=7))
    bit_keras.save_npz(upstream, checkpoint)
    named = study(tmp_path / "a", model="BiT-M-R50x1", pretrained=checkpoint, probe=True)
    given = study(tmp_path / "b", model=upstream, probe=True)
    assert named.accuracies == given.accuracies
    assert named.metrics["configuration"]["weights"] == str(checkpoint)
    with pytest.raises(ValueError, match="initial_state_sha256"):
        study(tmp_path / "b", model=randomize(upstream, seed=1), probe=True)


# By fine-tuning.


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return study(tmp_path_factory.mktemp("runs") / "tuned")


def test_the_files_of_fine_tuning(tuned):
    runs = {f"shots-{count}-seed-{seed}" for count, seed in POINTS}
    assert set(os.listdir(tuned.output_dir)) == FILES | runs
    assert_record(tuned)
    for count, seed in POINTS:
        run = tuned.output_dir / f"shots-{count}-seed-{seed}"
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["configuration"]["examples_per_class"] == count
        assert metrics["configuration"]["seed"] == seed
        assert metrics["test_accuracy"] == tuned.accuracies[count][SEEDS.index(seed)]


def test_a_finished_study_is_not_run_again(tuned, monkeypatch, capsys):
    monkeypatch.setattr("bit_keras.experiments.repeated_runs.finetune", None)
    again = study(tuned.output_dir)
    assert again.metrics == tuned.metrics
    assert again.accuracies == tuned.accuracies
    with pytest.raises(ValueError, match=r"budget\.steps is 3 there and 4 here"):
        study(tuned.output_dir, budget={**FAST, "steps": 4})
    with pytest.raises(ValueError, match="method is 'fine-tuning' there"):
        study(tuned.output_dir, probe=True)


def weights(run):
    model = keras.models.load_model(run / "model.keras")
    return [keras.ops.convert_to_numpy(weight.value) for weight in model.weights]


def test_each_run_is_finetune_from_the_weights_that_were_given(tuned, tmp_path):
    alone = bit_keras.finetune(
        network(),
        small_task(),
        examples_per_class=SHOTS[-1],
        seed=SEEDS[-1],
        budget=FAST,
        output_dir=tmp_path,
        verbose=False,
    )
    run = tuned.output_dir / f"shots-{SHOTS[-1]}-seed-{SEEDS[-1]}"
    for a, b in zip(weights(run), weights(alone.output_dir), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_an_interrupted_study_continues_inside_its_run(tuned, tmp_path, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    stock, ended = LearningCurve.on_train_batch_end, []

    def on_train_batch_end(self, batch, logs):
        stock(self, batch, logs)
        ended.append(self.step)
        if len(ended) == FAST["steps"] + 2:  # the second step of the second run
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LearningCurve, "on_train_batch_end", on_train_batch_end)
    model = network()
    try:
        with pytest.raises(KeyboardInterrupt):
            study(tmp_path, seeds=(0,), model=model)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "metrics.json").exists()
    (tmp_path / "shots-1-seed-0" / "model.keras").unlink()  # large, and not needed any more
    ended.clear()
    result = study(tmp_path, seeds=(0,), model=model)
    assert ended == [3]
    assert result.accuracies == {count: values[:1] for count, values in tuned.accuracies.items()}
    run = "shots-2-seed-0"
    for a, b in zip(weights(tmp_path / run), weights(tuned.output_dir / run), strict=True):
        np.testing.assert_array_equal(a, b)


def start(output_dir):
    """Starts the command in a process; returns the process and the path of its output."""
    log = output_dir.with_suffix(".log")
    command = [sys.executable, "-m", "bit_keras", "fewshot", "--shots=1,2", "--seeds=0"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "--steps=40", "--batch_size=8", f"--output_dir={output_dir}"],
            stdout=file,
            stderr=file,
            # Where a shell starts the tests in the background, Ctrl-C is ignored below it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    return process, log


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("runs") / "alone"
    assert start(output_dir)[0].wait(timeout=600) == 0
    return output_dir


def table(directory):
    return json.loads((directory / "metrics.json").read_text())["table"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_study_that_was_killed_continues(number, alone, tmp_path):
    output_dir = tmp_path / "stopped"
    process, _ = start(output_dir)
    run = "shots-2-seed-0"
    deadline = time.monotonic() + 600
    while not run_directory.states(output_dir / run) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(timeout=600) == (130 if number == signal.SIGINT else -number)
    assert run_directory.states(output_dir / run)
    assert not (output_dir / "metrics.json").exists()
    first = output_dir / "shots-1-seed-0" / "metrics.json"
    written = first.stat().st_mtime_ns
    process, log = start(output_dir)
    assert process.wait(timeout=600) == 0
    assert "Going on after step" in log.read_text()
    assert first.stat().st_mtime_ns == written
    assert table(output_dir) == table(alone)
    for a, b in zip(weights(output_dir / run), weights(alone / run), strict=True):
        np.testing.assert_array_equal(a, b)


def test_overwrite_removes_only_the_study(tmp_path):
    study(tmp_path, probe=True)
    run = tmp_path / "shots-1-seed-0"
    run_directory.claim(run, {"command": "finetune"}, overwrite=False)
    run_directory.claim(tmp_path / "shots-25-seed-7", {"command": "finetune"}, overwrite=False)
    (run / "model.keras").write_text("a network")
    (tmp_path / "thesis.txt").write_text("years of work")
    (run / "notes.txt").write_text("mine")
    (tmp_path / "shots-of-whisky").mkdir()
    study(tmp_path, probe=True, seeds=(1,), overwrite=True)
    others = {"thesis.txt", "shots-of-whisky", "shots-1-seed-0"}
    assert set(os.listdir(tmp_path)) == FILES | others
    assert os.listdir(run) == ["notes.txt"]


def test_a_study_without_config_json_is_refused_and_kept(tmp_path):
    study(tmp_path, probe=True)
    (tmp_path / "config.json").unlink()
    (tmp_path / "metrics.json").unlink()
    with pytest.raises(ValueError, match=r"holds fewshot\.png but no config\.json"):
        study(tmp_path, probe=True)
    assert set(os.listdir(tmp_path)) == {"fewshot.md", "fewshot.png"}


# What cannot be done.


def uneven():
    """Class 1 has two images, the others four."""
    task = small_task()
    images, labels = images_and_labels(task.train)
    chosen = np.flatnonzero(labels != 1).tolist() + np.flatnonzero(labels == 1)[:2].tolist()
    return dataclasses.replace(task, train=array_examples(images[chosen], labels[chosen]))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"task": uneven(), "shots": (1, 2, 3)},
            ValueError,
            r"class 'class 1' has 2 training examples, too few for shots=.*possible: 1, 2\.",
        ),
        ({"task": uneven(), "shots": (5,)}, ValueError, "possible: none"),
        ({"shots": ()}, ValueError, r"shots=\(\); expected"),
        ({"shots": (0, 1)}, ValueError, r"shots=\(0, 1\); expected"),
        ({"shots": (1, 1)}, ValueError, "distinct"),
        ({"seeds": (-1,)}, ValueError, r"seeds=\(-1,\); expected"),
        ({"seeds": (0.5,)}, ValueError, r"seeds=\(0.5,\); expected"),
        ({"task": "digit"}, ValueError, "Did you mean 'digits'"),
        ({"model": "BiT-M-R50"}, ValueError, "the nearest name is"),
        ({"model": "BiT-M-R50", "probe": True}, ValueError, "the nearest name is"),
        ({"model": "BiT-L-R50x1", "probe": True}, ValueError, "never released"),
        ({"model": "BiT-M-R50x1", "pretrained": "no.npz"}, FileNotFoundError, "no.npz"),
        ({"model": "R14x0.5", "pretrained": "no.npz"}, FileNotFoundError, "no.npz"),
        ({"model": "BiT-M-R50x1", "recipe": "papr"}, ValueError, "Did you mean 'paper'"),
        ({"budget": {"crop": 200}}, ValueError, "crop must not be larger than resize"),
        ({"budget": {"steps": 0}}, ValueError, "steps must be an integer of at least 1"),
        ({"probe": True, "budget": {"steps": 5}}, ValueError, "steps: a linear probe does not"),
        ({"probe": True, "budget": {"crop": 0}}, ValueError, "crop must be an integer"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    arguments, error, message, tmp_path
):
    with pytest.raises(error, match=message):
        study(tmp_path / "study", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_network_that_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    for probe, message in ((False, r"gives \(None, 7\)"), (True, "to take images")):
        model = tiny(classes=7, input_shape=(None, None, 1 if probe else 3))
        with pytest.raises(ValueError, match=message):
            study(tmp_path / "study", model=model, probe=probe)
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path, capsys):
    flags = ["--probe", "--shots=1,5", "--seeds=0,1", "--crop=32", f"--output_dir={tmp_path}"]
    assert main(["fewshot", *flags]) == 0
    said = capsys.readouterr().out
    assert "R14x0.5 with random weights on digits, linear probe" in said
    assert "The weights are random" in said
    assert "examples per class" in said
    assert main(["fewshot", *flags]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["fewshot", "--shots=1,x"]) == 2
    assert "--shots takes integers" in capsys.readouterr().err

"""Runs of several seeds: each is trained once, also after interruptions."""

import inspect
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.cli.main import COMMANDS, main
from bit_keras.experiments.seeds import finetune_seeds
from bit_keras.training.callbacks import LearningCurve

pytestmark = pytest.mark.usefixtures("no_drawing", "no_collections")

FAST = {"steps": 3, "batch_size": 8, "resize": 36, "crop": 32}


def network(seed=0):
    """Returns a very small network, always of the same name."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x), name="mine")


def study(output_dir, **arguments):
    usual = {"model": network(), "task": "digits", "seeds": (0, 1), "budget": FAST}
    return finetune_seeds(output_dir=output_dir, verbose=False, **usual | arguments)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    path = tmp_path_factory.mktemp("studies") / "done"
    return path, study(path)


def losses(path, seeds=(0, 1)):
    return [
        json.loads((path / f"seed-{seed}" / "metrics.json").read_text())["test_loss"]
        for seed in seeds
    ]


def test_each_seed_is_a_run_of_finetune(done, tmp_path):
    path, record = done
    assert sorted(os.listdir(path)) == ["seed-0", "seed-1", "seeds.json"]
    alone = bit_keras.finetune(
        network(), "digits", budget=FAST, seed=1, output_dir=tmp_path, verbose=False
    )
    assert losses(path)[1] == alone.metrics["test_loss"]
    assert losses(path)[0] != alone.metrics["test_loss"]
    assert record["test_accuracies"][1] == alone.metrics["test_accuracy"]


def test_seeds_json_summarizes_the_runs(done):
    path, record = done
    assert json.loads((path / "seeds.json").read_text()) == record
    assert record["seeds"] == [0, 1]
    assert record["median"] == statistics.median(record["test_accuracies"])
    assert record["std"] == statistics.stdev(record["test_accuracies"])
    assert record["n"] == 2
    configuration = record["configuration"]
    assert configuration["rule"]["steps"] == 3
    assert "seed" not in configuration


def test_the_accuracies_are_printed_as_a_table(done, capsys):
    path, record = done
    finetune_seeds(network(), "digits", seeds=(1, 0), budget=FAST, output_dir=path)
    said = capsys.readouterr().out
    assert "Run 1 of" not in said
    for accuracy in (*record["test_accuracies"], record["median"]):
        assert f"{100 * accuracy:.2f}" in said
    assert "(n=2)" in said


def test_finished_seeds_are_not_run_again_and_others_may_be_added(done, tmp_path):
    shutil.copytree(done[0], tmp_path / "more")
    (tmp_path / "more" / "seed-0" / "model.keras").unlink()
    before = {
        file: file.stat().st_mtime_ns for file in (tmp_path / "more").rglob("seed-*/metrics.json")
    }
    record = study(tmp_path / "more", seeds=(2, 0, 1))
    assert record["seeds"] == [0, 1, 2]
    assert record["test_accuracies"][:2] == done[1]["test_accuracies"]
    assert {file: file.stat().st_mtime_ns for file in before} == before
    fewer = study(tmp_path / "more", seeds=(1,))
    assert (fewer["n"], fewer["std"]) == (1, None)
    assert fewer["median"] == record["test_accuracies"][1]


def test_another_configuration_is_refused(done):
    with pytest.raises(ValueError, match=r"rule\.steps is 3 there and 4 here"):
        study(done[0], budget={**FAST, "steps": 4})
    with pytest.raises(ValueError, match="examples_per_class is not given there and 2 here"):
        study(done[0], examples_per_class=2, seeds=(5,))


def test_a_single_run_and_several_seeds_need_different_directories(done, tmp_path):
    shutil.copytree(done[0], tmp_path / "x")
    single = {"model": network(), "task": "digits", "budget": FAST, "verbose": False}
    with pytest.raises(ValueError, match="holds the runs of several seeds"):
        bit_keras.finetune(output_dir=tmp_path / "x", **single)
    (tmp_path / "x" / "thesis.txt").write_text("years of work")
    bit_keras.finetune(output_dir=tmp_path / "x", overwrite=True, **single)
    assert not list((tmp_path / "x").glob("seed*"))
    with pytest.raises(ValueError, match=r"holds a single run \(config.json\)"):
        study(tmp_path / "x")
    study(tmp_path / "x", overwrite=True, seeds=(1,))
    assert sorted(os.listdir(tmp_path / "x")) == ["seed-1", "seeds.json", "thesis.txt"]


@pytest.mark.parametrize("content", ["{", "{}", '{"seeds": [0]}', "[]"])
def test_a_damaged_seeds_json_is_refused(content, tmp_path):
    (tmp_path / "seeds.json").write_text(content)
    with pytest.raises(ValueError, match=r"seeds.json is (damaged|not a record)"):
        study(tmp_path)
    assert (tmp_path / "seeds.json").read_text() == content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": ()}, "expected one or more distinct integers"),
        ({"seeds": (0, 0)}, "expected one or more distinct integers"),
        ({"seeds": (0, -1)}, "expected one or more distinct integers"),
        ({"seeds": (0.5,)}, "expected one or more distinct integers"),
        ({"seeds": (2**32,)}, "expected one or more distinct integers"),
        ({"model": "BiT-M-R50"}, "the nearest name is"),
        ({"task": "digit"}, "Did you mean 'digits'"),
        ({"examples_per_class": 1000}, "training examples"),
        ({"eval_every": 0}, "eval_every must be an integer"),
        ({"model": "mine"}, "nearest"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(arguments, message, tmp_path):
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=message):
            study(tmp_path / "new", overwrite=overwrite, **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_each_run_starts_from_the_weights_that_were_given(done, tmp_path):
    model = network()
    given = [keras.ops.convert_to_numpy(variable.value) for variable in model.variables]
    study(tmp_path, model=model, seeds=(3, 1))
    for variable, value in zip(model.variables, given, strict=True):
        np.testing.assert_array_equal(variable.value, value)
    assert losses(tmp_path, (1,)) == losses(done[0], (1,))  # there it came after another seed
    with pytest.raises(ValueError, match="initial_state_sha256"):
        study(tmp_path, model=network(seed=1))


def test_ctrl_c_stops_the_runs_and_the_same_call_continues(done, tmp_path, monkeypatch):
    stock = LearningCurve.on_train_batch_end
    steps = []

    def on_train_batch_end(self, batch, logs):
        stock(self, batch, logs)
        steps.append(self.step)
        if len(steps) == 5:  # the second step of the second run
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LearningCurve, "on_train_batch_end", on_train_batch_end)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            study(tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert json.loads((tmp_path / "seeds.json").read_text())["seeds"] == [0]
    assert list((tmp_path / "seed-1").glob("state-*.npz"))
    record = study(tmp_path)
    assert steps == [1, 2, 3, 1, 2, 3]
    assert record == done[1]
    assert losses(tmp_path) == losses(done[0])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_process_continues_its_runs(number, tmp_path, rounds):
    command = [sys.executable, "-m", "bit_keras", "finetune", "--seeds=0,1", "--steps=30"]
    command += ["--batch_size=8", "--eval_every=10", "--held_out=0.1"]

    def start(name):
        with (tmp_path / f"{name}.log").open("a") as log:
            return subprocess.Popen(
                [*command, f"--output_dir={tmp_path / name}"], stdout=log, stderr=log
            )

    assert start("alone").wait(timeout=300) == 0
    for i in range(rounds(few=1, full=10)):
        name = f"ended{i}"
        process = start(name)
        deadline = time.monotonic() + 300
        second = tmp_path / name / "seed-1" / "config.json"
        while not second.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.Random(i).uniform(0, 3))
        process.send_signal(number)
        assert process.wait(timeout=120) in (-number, 128 + number)
        assert start(name).wait(timeout=300) == 0
        for file in ("seeds.json", "seed-0/history.json", "seed-1/history.json"):
            assert (tmp_path / name / file).read_text() == (tmp_path / "alone" / file).read_text()


def test_flags_are_checked_and_passed_to_finetune_seeds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["finetune", "--seeds=0,1", "--seed=0"]) == 2
    assert "--seed and --seeds were both given" in capsys.readouterr().err
    for wrong in ("0,0", "", "a", "-1"):
        assert main(["finetune", f"--seeds={wrong}"]) == 2
        assert "integers" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    calls = []
    monkeypatch.setattr(
        "bit_keras.experiments.seeds.finetune_seeds", lambda *_, **given: calls.append(given)
    )
    arguments = ["finetune", "--seeds=3,1", "--steps=2", "--batch_size=4", "--eval_every=1"]
    assert main([*arguments, "--held_out=0.1"]) == 0
    (given,) = calls
    assert given["seeds"] == (3, 1)
    assert (given["eval_every"], given["held_out"]) == (1, 0.1)
    assert (given["budget"]["steps"], given["budget"]["batch_size"]) == (2, 4)
    assert given["output_dir"] == Path("runs", "R14x0.5-digits-seeds")
    defaults = {flag: default for _, flag, default, _ in COMMANDS["finetune"].flags}
    assert (
        defaults["held_out"] == inspect.signature(bit_keras.finetune).parameters["held_out"].default
    )

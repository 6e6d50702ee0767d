"""A run that was interrupted or killed ends as one that was left alone."""

import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from networks import tiny

import bit_keras
from bit_keras.training import resume
from bit_keras.training.learning_curve import LearningCurve

STEPS = 12


@pytest.fixture(autouse=True)
def _ctrl_c():
    """What Python does at SIGINT, also where a shell started it in the background: nothing then."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


BUDGET = {"steps": STEPS, "batch_size": 8}


def finetune(output_dir):
    return bit_keras.finetune(
        "R14x0.5", "digits", budget=BUDGET, output_dir=output_dir, verbose=False
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return finetune(tmp_path_factory.mktemp("runs") / "alone")


def assert_same_run(result, expected):
    assert result.history == expected.history
    assert result.metrics["test_loss"] == expected.metrics["test_loss"]
    for a, b in zip(result.model.variables, expected.model.variables, strict=True):
        np.testing.assert_array_equal(a.value, b.value)
    assert not (result.output_dir / "state.npz").exists()


def send_after(step, number, monkeypatch):
    """Has a signal come while a step ends, once."""
    stock = LearningCurve.on_train_batch_end

    def on_train_batch_end(self, batch, logs):
        stock(self, batch, logs)
        if self.step == step:
            signal.raise_signal(number)

    monkeypatch.setattr(LearningCurve, "on_train_batch_end", on_train_batch_end)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_ends_the_step_and_the_same_call_goes_on(
    number, raised, alone, tmp_path, monkeypatch, rounds
):
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    steps = random.Random(number).sample(range(1, STEPS + 1), rounds(few=1, full=5))
    try:
        for step in steps:
            with monkeypatch.context() as patch:
                send_after(step, number, patch)
                with pytest.raises(raised):
                    finetune(tmp_path / str(step))
            assert not (tmp_path / str(step) / "metrics.json").exists()
            assert_same_run(finetune(tmp_path / str(step)), alone)
    finally:
        signal.signal(signal.SIGTERM, previous)


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path, rounds):
    command = [sys.executable, "-m", "bit_keras", "finetune", "--steps=40", "--batch_size=8"]
    command += ["--eval_every=7", "--held_out=0.1"]

    def start(name):
        with (tmp_path / f"{name}.log").open("w") as log:
            return subprocess.Popen(
                [*command, f"--output_dir={tmp_path / name}"], stdout=log, stderr=log
            )

    assert start("alone").wait(timeout=300) == 0
    expected = keras.models.load_model(tmp_path / "alone" / "model.keras")
    for i in range(rounds(few=2, full=10)):
        name = f"killed{i}"
        process = start(name)
        state = tmp_path / name / "state.npz"
        deadline = time.monotonic() + 300
        while not state.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.Random(i).uniform(0, 0.5))
        process.kill()
        process.wait()
        assert state.exists()
        assert not (tmp_path / name / "metrics.json").exists()
        assert start(name).wait(timeout=300) == 0
        assert "Going on after step" in (tmp_path / f"{name}.log").read_text()
        model = keras.models.load_model(tmp_path / name / "model.keras")
        for a, b in zip(model.variables, expected.variables, strict=True):
            np.testing.assert_array_equal(a.value, b.value)
        histories = {(tmp_path / run / "history.json").read_text() for run in ("alone", name)}
        assert len(histories) == 1


def compiled(model, rule):
    model.compile(keras.optimizers.SGD(rule.schedule(), momentum=0.9), "mse", jit_compile=False)
    return model


def test_a_damaged_or_foreign_state_changes_nothing(tmp_path):
    rule = bit_keras.HyperRule.for_task(10, (8, 8))
    curve = LearningCurve(rule, tmp_path / "events")
    path = tmp_path / "state.npz"
    resume.save_state(path, compiled(tiny(), rule), curve)
    other = compiled(tiny(classes=3), rule)
    with pytest.raises(bit_keras.CheckpointError, match="not a state of this model"):
        resume.restore_state(path, other, curve)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    model = compiled(tiny(), rule)
    before = [keras.ops.convert_to_numpy(v.value) for v in model.variables]
    with pytest.raises(bit_keras.CheckpointError, match="damaged"):
        resume.restore_state(path, model, curve)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.value, value)


def test_the_second_signal_is_not_held_back():
    with resume.Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

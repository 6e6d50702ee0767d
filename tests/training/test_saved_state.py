"""A run that was interrupted or killed ends as one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from networks import images, quick, randomize

import bit_keras
from bit_keras.checkpoints.archive import Archive, write_archive
from bit_keras.runs import run_directory
from bit_keras.training import saved_state
from bit_keras.training.callbacks import Interruption, LearningCurve

pytestmark = pytest.mark.usefixtures("no_drawing")

STEPS = 12


@pytest.fixture(autouse=True)
def _ctrl_c():
    """What Python does at SIGINT, also where a shell started it in the background: nothing then."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


BUDGET = {"steps": STEPS, "batch_size": 8, "resize": 36, "crop": 32}


def finetune(output_dir):
    return bit_keras.finetune(
        randomize(quick()), "digits", budget=BUDGET, output_dir=output_dir, verbose=False
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return finetune(tmp_path_factory.mktemp("runs") / "alone")


def assert_same_run(result, expected):
    assert result.history == expected.history
    assert result.metrics["test_loss"] == expected.metrics["test_loss"]
    for a, b in zip(result.model.variables, expected.model.variables, strict=True):
        np.testing.assert_array_equal(a.value, b.value)
    assert not run_directory.states(result.output_dir)


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
        deadline = time.monotonic() + 300
        while not run_directory.states(tmp_path / name) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.Random(i).uniform(0, 0.5))
        process.kill()
        process.wait()
        assert run_directory.states(tmp_path / name)
        assert not (tmp_path / name / "metrics.json").exists()
        assert start(name).wait(timeout=300) == 0
        assert "Going on after step" in (tmp_path / f"{name}.log").read_text()
        model = keras.models.load_model(tmp_path / name / "model.keras")
        for a, b in zip(model.variables, expected.variables, strict=True):
            np.testing.assert_array_equal(a.value, b.value)
        histories = {(tmp_path / run / "history.json").read_text() for run in ("alone", name)}
        assert len(histories) == 1


@pytest.fixture
def curve(tmp_path):
    """The learning curve of a run in `tmp_path`, at step 0."""
    rule = bit_keras.HyperRule.for_task(10, (8, 8))
    return LearningCurve(rule.steps, rule.learning_rate, None)


def compiled(seed=0, **arguments):
    model = randomize(quick(**arguments), seed)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", jit_compile=False)
    return model


def flip_a_byte(path, model):
    """Flips a byte of the model's first kernel in the file of its state."""
    content = bytearray(path.read_bytes())
    content[content.index(model.weights[0].numpy().tobytes())] ^= 1
    path.write_bytes(content)


def assert_same_variables(model, expected):
    for a, b in zip(model.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(a.value, b.value)


def test_the_newest_states_are_kept(tmp_path, curve):
    model = compiled()
    for curve.step in (8, 9, 10, 110):
        saved_state.save_state(tmp_path, model, curve, keep=3)
    assert sorted(os.listdir(tmp_path)) == ["state-10.npz", "state-110.npz", "state-9.npz"]
    assert [run_directory.step_of(path) for path in run_directory.states(tmp_path)] == [9, 10, 110]
    saved_state.save_state(tmp_path, model, curve, keep=1)
    assert os.listdir(tmp_path) == ["state-110.npz"]


def test_a_damaged_state_is_set_aside_and_the_one_before_it_used(tmp_path, curve):
    saved = [compiled(seed) for seed in range(3)]
    for curve.step, model in enumerate(saved):
        saved_state.save_state(tmp_path, model, curve, keep=3)
    flip_a_byte(run_directory.state(tmp_path, 2), saved[2])
    (tmp_path / "state-1.npz").write_bytes(b"")
    said = []
    model = compiled(seed=3)
    saved_state.restore_newest(tmp_path, model, curve, said.append)
    assert curve.step == 0
    assert_same_variables(model, saved[0])
    assert [line.partition(":")[0] for line in said] == [
        f"A saved state is damaged and was renamed to state-{step}.npz.damaged" for step in (2, 1)
    ]
    names = {"state-0.npz", "state-1.npz.damaged", "state-2.npz.damaged"}
    assert set(os.listdir(tmp_path)) == names
    run_directory.remove_states(tmp_path)
    assert not os.listdir(tmp_path)


def test_where_all_states_are_damaged_it_starts_over(tmp_path, curve):
    saved = compiled(seed=1)
    saved_state.save_state(tmp_path, saved, curve)
    flip_a_byte(run_directory.state(tmp_path, 0), saved)
    model = compiled()
    saved_state.restore_newest(tmp_path, model, curve, lambda _: None)
    assert_same_variables(model, compiled())


def test_the_state_of_another_model_changes_nothing(tmp_path, curve):
    saved_state.save_state(tmp_path, compiled(), curve)
    model = compiled(classes=3)
    curve.step = 7
    with pytest.raises(bit_keras.CheckpointError, match="not a state of this model"):
        saved_state.restore_newest(tmp_path, model, curve, lambda _: None)
    assert curve.step == 7
    assert_same_variables(model, compiled(classes=3))
    assert os.listdir(tmp_path) == ["state-0.npz"]


OTHER_VALUES = {
    "int8": lambda kernel: np.full(kernel.shape, 5, "int8"),
    "bool": lambda kernel: kernel > 0,
    "complex64": lambda kernel: kernel.astype("complex64"),
    "float64": lambda kernel: np.full(kernel.shape, 1e300),
    "float16": lambda kernel: kernel.astype("float16"),
    ">f4": lambda kernel: kernel.astype(">f4"),
}


@pytest.mark.parametrize("dtype", OTHER_VALUES)
def test_a_state_of_another_dtype_changes_nothing(dtype, tmp_path, curve):
    model = compiled()
    saved_state.save_state(tmp_path, model, curve)
    index = next(i for i, variable in enumerate(model.variables) if len(variable.shape) == 4)
    kernel = OTHER_VALUES[dtype](np.array(model.variables[index].value))
    rewrite(run_directory.state(tmp_path, 0), **{f"model/{index}": kernel})
    other = compiled(seed=1)
    with pytest.raises(bit_keras.CheckpointError, match=r"model/\d+' is .*; expected float32 of"):
        saved_state.restore_newest(tmp_path, other, curve, lambda _: None)
    assert_same_variables(other, compiled(seed=1))


def test_a_state_too_large_for_bfloat16_changes_nothing(tmp_path, curve):
    model = compiled(dtype="bfloat16")
    saved_state.save_state(tmp_path, model, curve)
    first = np.full(model.variables[0].shape, np.finfo("float32").max)
    rewrite(run_directory.state(tmp_path, 0), **{"model/0": first})
    with pytest.raises(bit_keras.CheckpointError, match="too large for bfloat16"):
        saved_state.restore_newest(tmp_path, model, curve, lambda _: None)


def rewrite(path, **arrays):
    """Writes a state anew with some arrays replaced, or removed where None is given."""
    with Archive(path) as archive:
        kept = {name: archive.read(name) for name in archive.members} | arrays
    write_archive(path, [(name, array) for name, array in kept.items() if array is not None])


def progress_of_format_1(curve):
    return np.frombuffer(json.dumps(curve.state()).encode(), "uint8")


@pytest.mark.parametrize(
    "make",
    [bit_keras.MomentumSGD, bit_keras.DecayedSGD],
    ids=["fine-tuning", "pre-training"],
)
@pytest.mark.parametrize("dtype", [None, "mixed_float16"])
def test_a_run_goes_on_with_the_update_that_it_began_with(make, dtype, tmp_path, curve):
    def compiled_by(optimizer):
        model = randomize(quick(dtype=dtype))
        model.compile(optimizer, "mse", jit_compile=False, run_eagerly=True)
        return model

    def train(model):
        model.optimizer.learning_rate = 0.01 if curve.step == 0 else 0.001
        model.train_on_batch(images(4, 8, 8, 3), np.ones((4, 10)))

    expected = compiled_by(make(rate_in_velocity=True))
    train(expected)
    saved_state.save_state(tmp_path, expected, curve)
    rewrite(run_directory.state(tmp_path, 0), format=None, progress=progress_of_format_1(curve))
    curve.step = 1
    train(expected)
    said = []
    for _ in range(2):  # The second time, from a state that the present version wrote.
        model = compiled_by(make())
        saved_state.restore_newest(tmp_path, model, curve, said.append)
        saved_state.save_state(tmp_path, model, curve)
        curve.step = 1
        train(model)
        assert_same_variables(model, expected)
        curve.step = 0
    assert len(said) == 2
    assert "an earlier version of bit_keras" in said[0]


@pytest.mark.parametrize(
    "version", [3, 0, np.nan, np.zeros(0), [2, 7], [2, -1], [2.0, 1.0], [[2, 1]]]
)
def test_a_state_in_an_unknown_format_is_refused(version, tmp_path, curve):
    saved_state.save_state(tmp_path, compiled(), curve)
    rewrite(run_directory.state(tmp_path, 0), format=np.atleast_1d(version))
    model = compiled(seed=1)
    with pytest.raises(bit_keras.CheckpointError, match=r"this version reads formats 1 to 2"):
        saved_state.restore_newest(tmp_path, model, curve, lambda _: None)
    assert_same_variables(model, compiled(seed=1))


def test_a_state_that_is_not_finite_is_not_saved(tmp_path, curve):
    model = compiled()
    saved_state.save_state(tmp_path, model, curve)
    model.optimizer.variables[-1].assign(np.full(model.optimizer.variables[-1].shape, np.inf))
    curve.step = 1
    with pytest.raises(FloatingPointError, match=r"momentum.* is not finite after step 1"):
        saved_state.save_state(tmp_path, model, curve)
    assert os.listdir(tmp_path) == ["state-0.npz"]


def test_a_state_holds_every_value_of_bfloat16(tmp_path, curve):
    saved, model = compiled(dtype="bfloat16"), compiled(seed=1, dtype="bfloat16")
    saved_state.save_state(tmp_path, saved, curve)
    saved_state.restore_newest(tmp_path, model, curve, lambda _: None)
    assert_same_variables(model, saved)


def test_a_state_holds_the_scale_of_a_float16_loss(tmp_path, curve):
    saved, model = (compiled(seed, dtype="mixed_float16") for seed in (0, 1))
    for _ in range(2):
        saved_state.save_state(tmp_path, saved, curve)
    assert isinstance(saved.optimizer, keras.optimizers.LossScaleOptimizer)
    saved.optimizer.dynamic_scale.assign(64.0)
    saved.optimizer.step_counter.assign(3)
    saved_state.save_state(tmp_path, saved, curve)
    saved_state.restore_newest(tmp_path, model, curve, lambda _: None)
    assert_same_variables(model, saved)
    assert float(model.optimizer.dynamic_scale) == 64
    assert int(model.optimizer.step_counter) == 3


def test_the_second_signal_is_not_held_back():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

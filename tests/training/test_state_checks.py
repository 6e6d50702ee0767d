"""A state that was damaged or made by hand is set aside, and the one before it is used."""

import json
import zipfile

import keras
import numpy as np
import pytest
from networks import quick, randomize

import bit_keras
from bit_keras.checkpoints.archive import Archive, write_archive
from bit_keras.runs import run_directory
from bit_keras.training import saved_state
from bit_keras.training.callbacks import LearningCurve


def compiled(seed):
    model = randomize(quick(), seed)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", jit_compile=False)
    return model


def curve(step=0, validated=False):
    rule = bit_keras.HyperRule.for_task(10, (8, 8))
    result = LearningCurve(rule.steps, rule.learning_rate, None, validated)
    result.step = step
    return result


@pytest.fixture(scope="module")
def good():
    return compiled(seed=1)


@pytest.fixture
def directory(good, tmp_path):
    """The directory of a run with the good states of the steps 3 and 8."""
    for step in (3, 8):
        saved_state.save_state(tmp_path, good, curve(step))
    return tmp_path


def changed(directory, change):
    """Rewrites the newest state, after a change of its dict of arrays."""
    path = run_directory.states(directory)[-1]
    with Archive(path) as archive:
        arrays = {name: archive.read(name) for name in archive.members}
    change(arrays)
    write_archive(path, arrays.items())


def progress(**entries):
    """Returns a change of the progress of a state; "history.loss" names an entry of its history."""

    def change(arrays):
        content = json.loads(arrays["progress"].tobytes())
        for name, value in entries.items():
            (content if name in content else content["history"])[name] = value
        arrays["progress"] = np.frombuffer(json.dumps(content).encode(), "uint8")

    return change


def text(content):
    return lambda arrays: arrays.update(progress=np.frombuffer(content, "uint8"))


def value(name, number):
    def change(arrays):
        arrays[name] = np.full_like(arrays[name], number)

    return change


CURVES = ("loss", "accuracy", "learning_rate")

BAD = {
    "a weight of NaN": (value("model/0", np.nan), "holds NaN or infinity"),
    "a momentum of infinity": (value("optimizer/2", np.inf), "holds NaN or infinity"),
    "a negative count": (value("optimizer/0", -1), "expected counts from 0"),
    "a negative step": (progress(step=-5), "at step -5; expected 8"),
    "another step": (progress(step=3), "at step 3; expected 8"),
    "a step of a fraction": (progress(step=8.5), "at step 8.5"),
    "a step of NaN": (progress(step=float("nan")), "expected a number"),
    "a step of text": (progress(step="8"), "expected a number"),
    "a step of True": (progress(step=True), "expected a number"),
    "a loss of NaN": (progress(loss=[float("nan")]), "expected a list of finite numbers"),
    "a loss without a step": (progress(loss=[1.0]), "expected lists of one length"),
    "no history": (progress(history=None), "expected the entries step, loss"),
    "a validation": (progress(history={"validation": {}}), "expected the entries"),
    "steps in no order": (
        progress(history={"step": [4, 2]} | {key: [1, 1] for key in CURVES}),
        "not in order",
    ),
    "a list": (text(b"[]"), "expected the entries step, history"),
    "text that is cut off": (text(b'{"step": 8'), "is no JSON text"),
    "bytes that are no text": (text(b"\xff\xfe\xff"), "is no JSON text"),
    "JSON that is nested deep": (text(b"[" * 100_000), "is no JSON text"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_state_is_set_aside(what, directory, good):
    change, message = BAD[what]
    changed(directory, change)
    model, restored, said = compiled(seed=2), curve(), []
    saved_state.restore_newest(directory, model, restored, said.append)
    assert restored.step == 3
    assert message in said[0]
    assert (directory / "state-8.npz.damaged").exists()
    for ours, expected in zip(model.variables, good.variables, strict=True):
        np.testing.assert_array_equal(ours.value, expected.value)


def test_a_step_beyond_the_run_is_set_aside(directory, good):
    beyond = curve().steps + 1
    saved_state.save_state(directory, good, curve(beyond))
    restored, said = curve(), []
    saved_state.restore_newest(directory, compiled(seed=2), restored, said.append)
    assert restored.step == 8
    assert f"at step {beyond}" in said[0]


def test_an_archive_that_inflates_is_not_read(directory):
    path = run_directory.states(directory)[-1]
    with (
        zipfile.ZipFile(path) as stored,
        zipfile.ZipFile(directory / "new", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    (directory / "new").rename(path)
    restored, said = curve(), []
    saved_state.restore_newest(directory, compiled(seed=2), restored, said.append)
    assert restored.step == 3
    assert "is compressed by method 8; expected 0 (none)" in said[0]


def test_a_good_state_with_points_is_restored(tmp_path, good):
    saved = curve(8, validated=True)
    for points in (saved.history, saved.history["validation"]):
        for name in points:
            if name != "validation":
                points[name] += [4, 8]
    saved_state.save_state(tmp_path, good, saved)
    restored = curve(validated=True)
    saved_state.restore_newest(tmp_path, compiled(seed=2), restored, pytest.fail)
    assert restored.state() == saved.state()

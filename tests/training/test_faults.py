"""What a run leaves, and goes on from, when a process, a file or the disk fails it."""

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import distributed_program as program
import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import QuickResNet, quick, randomize, tiny
from training.stopped import stopped_at

import bit_keras
from bit_keras.checkpoints.archive import Archive
from bit_keras.cli.main import main
from bit_keras.data import subsets
from bit_keras.data.tasks import pretraining_task
from bit_keras.models import zoo
from bit_keras.runs import run_directory
from bit_keras.training import saved_state
from bit_keras.training.callbacks import LearningCurve

pytestmark = pytest.mark.usefixtures("no_drawing")

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "bit_keras", "finetune", "--steps=20", "--batch_size=8"]
COMMAND += ["--save_every=2", "--eval_every=7", "--held_out=0.1"]


def start(output_dir, log, environment=None, command=COMMAND):
    with log.open("w") as file:
        return subprocess.Popen(
            [*command, f"--output_dir={output_dir}"],
            stdout=file,
            stderr=file,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )


def start_workers(output_dir, attempt):
    """Two processes of one run, the chief first, and their logs."""
    logs = [output_dir.with_name(f"{output_dir.name}-{attempt}-{i}.log") for i in range(2)]
    configs = program.tf_configs(2)
    processes = [
        start(output_dir, log, {"TF_CONFIG": config})
        for log, config in zip(logs, configs, strict=True)
    ]
    return processes, logs


def finish_workers(output_dir, attempt):
    processes, logs = start_workers(output_dir, attempt)
    statuses = program.finish(processes, timeout=600)
    assert statuses == [0, 0], "\n".join(log.read_text() for log in logs)
    return logs[0].read_text()


def wait_for(pattern, output_dir, processes):
    """Waits until the run's directory has such a file."""
    deadline = time.monotonic() + 300
    while not list(output_dir.glob(pattern)):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.001)


def weights(output_dir):
    model = keras.models.load_model(output_dir / run_directory.MODEL)
    return [keras.ops.convert_to_numpy(variable.value) for variable in model.variables]


def assert_same_weights(output_dir, expected):
    for found, wanted in zip(weights(output_dir), weights(expected), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


# Several workers


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """The run of two workers that is left alone."""
    output_dir = tmp_path_factory.mktemp("runs") / "alone"
    finish_workers(output_dir, 0)
    return output_dir


@pytest.mark.slow
def test_two_workers_end_as_one_process(two_workers, tmp_path):
    assert start(tmp_path / "one", tmp_path / "log").wait(timeout=300) == 0
    here, there = (
        run_directory.read_json(path / run_directory.METRICS)
        for path in (tmp_path / "one", two_workers)
    )
    # Where and how it trained tells no run from another.
    assert here["configuration"] == there["configuration"]
    # What float32 rounds grows in a deep network; test_every_strategy.py compares in float64.
    assert here["test_loss"] == pytest.approx(there["test_loss"], rel=0.05)
    assert here["num_test_examples"] == there["num_test_examples"] == 360


@pytest.mark.slow
@pytest.mark.parametrize("victims", [(0,), (1,), (0, 1)], ids=["chief", "worker", "both"])
@pytest.mark.parametrize("moment", ["any", "while a state is written"])
def test_a_killed_worker_costs_nothing(victims, moment, two_workers, tmp_path, rounds):
    for i in range(rounds(few=1, full=10)):
        output_dir = tmp_path / f"run{i}"
        processes, logs = start_workers(output_dir, 0)
        try:
            wait_for("state-*.npz", output_dir, processes)
            if moment == "any":
                # Steps take about 0.1 s, 18 are to come.
                time.sleep(random.Random(i).uniform(0, 1))
            else:
                wait_for(".*.partial.npz", output_dir, processes)
            for victim in victims:
                processes[victim].kill()
            killed = time.monotonic()
            for survivor in {0, 1} - set(victims):
                # It ends by itself; TensorFlow notices after some 15 s.
                assert processes[survivor].wait(timeout=120) not in (0, -signal.SIGKILL)
                assert "Start the same command" in logs[survivor].read_text()
                print(f"the other ended after {time.monotonic() - killed:.0f} s")
        finally:
            program.finish(processes)
        assert not (output_dir / run_directory.METRICS).exists()
        assert "Going on after step" in finish_workers(output_dir, 1)
        assert_same_weights(output_dir, two_workers)
        assert not list(output_dir.glob(".*"))


# Files and disks


FAST = {"steps": 6, "batch_size": 8, "resize": 36, "crop": 32}


def finetune(output_dir, **arguments):
    arguments = {"budget": FAST, "save_every": 2, "verbose": True, **arguments}
    network = randomize(quick())
    return bit_keras.finetune(network, "digits", output_dir=output_dir, **arguments)


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """The directory of a run that was stopped after its fifth step."""
    with stopped_at(5, monkeypatch):
        finetune(tmp_path / "stopped")
    return tmp_path / "stopped"


def test_a_flipped_byte_costs_the_steps_since_the_state_before(stopped, capsys):
    assert [path.name for path in run_directory.states(stopped)] == ["state-4.npz", "state-5.npz"]
    newest = run_directory.state(stopped, 5)
    with Archive(newest) as archive:
        kernel = archive.read("model/0").tobytes()
    content = bytearray(newest.read_bytes())
    content[content.index(kernel) + random.randrange(len(kernel))] ^= 1
    newest.write_bytes(content)
    result = finetune(stopped)
    said = capsys.readouterr().out
    assert "A saved state is damaged and was renamed to state-5.npz.damaged: " in said
    assert "Going on after step 4." in said
    # test_saved_state.py holds that it then ends like a run without interruption.
    assert result.history["step"] == [1, 2, 3, 4, 5, 6]
    assert not list(stopped.glob("state-*"))


def test_a_diverging_run_keeps_its_last_good_state(tmp_path):
    with pytest.raises(
        FloatingPointError, match=r"step \d+: training diverged.* The last good state is (\S+)\.$"
    ) as raised:
        finetune(tmp_path, budget={**FAST, "base_lr": 1e12}, save_every=1, verbose=False)
    path = run_directory.states(tmp_path)[-1]
    assert str(path) in str(raised.value)
    with Archive(path) as archive:
        assert all(np.isfinite(archive.read(name)).all() for name in archive.members)


def test_a_state_that_does_not_fit_the_disk_leaves_those_before_it(tmp_path):
    model = randomize(tiny())
    model.compile("sgd", "mse")
    curve = LearningCurve(10, lambda step: 0.1, None)
    saved_state.save_state(tmp_path, model, curve)
    before = (tmp_path / "state-0.npz").read_bytes()
    curve.step = 1
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match=r"while saving .*state-1\.npz\. .*state-0\.npz\. The"):
            saved_state.save_state(tmp_path, model, curve)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["state-0.npz"]
    assert (tmp_path / "state-0.npz").read_bytes() == before


# Images that cannot be read


def write_list(folder, count=24):
    pixels = np.random.default_rng(0).integers(0, 256, [count, 8, 8, 3], np.uint8)
    for i in range(count):
        (folder / f"{i}.png").write_bytes(tf.io.encode_png(pixels[i]).numpy())
    lines = [f"{i}.png\t{'ab'[i % 2]}\n" for i in range(count)]
    (folder / "list.tsv").write_text("".join(lines))
    return folder / "list.tsv"


def test_a_broken_image_ends_a_pretraining_in_one_line_and_mended_it_goes_on(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(zoo, "create", lambda name, *, classes, **_: QuickResNet(classes))
    listed = write_list(tmp_path)
    task = pretraining_task(f"labels:{listed}")
    *_, last = task.train.elements().as_numpy_iterator()
    broken = Path(last["path"].decode())
    whole = broken.read_bytes()
    broken.write_bytes(whole[:60])
    arguments = ["pretrain", f"--task=labels:{listed}", f"--output_dir={tmp_path / 'run'}"]
    arguments += [
        "--model=BiT-S-R50x1",
        "--recipe=small",
        "--crop=32",
        "--steps=3",
        "--batch_size=8",
        "--warmup_steps=0",
    ]
    assert main(arguments) == 2
    (said,) = capsys.readouterr().err.strip().split("\n")[-1:]
    assert said.startswith(f"bit-keras: labels:{listed}: {broken} cannot be read: ")
    broken.write_bytes(whole)
    assert main(arguments) == 0


def folder_task(path):
    for i in range(12):
        file = path / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(tf.io.encode_png(np.full((8, 8, 3), 20 * i, "uint8")).numpy())
    return bit_keras.task(f"folder:{path}")


@pytest.mark.parametrize("part", ["train", "test", "held out"])
def test_an_image_that_goes_while_a_network_is_fine_tuned_is_named(part, tmp_path):
    task = folder_task(tmp_path / "images")
    arguments = {"eval_every": 1, "held_out": 0.2} if part == "held out" else {}
    of_part = {
        "train": task.train,
        "test": task.test,
        "held out": subsets.hold_out(task, 0.2, seed=0)[1],
    }[part]
    path = Path(next(of_part.elements().as_numpy_iterator())["path"].decode())
    path.unlink()
    with pytest.raises(ValueError, match=rf"{path} cannot be read: .*No such file"):
        bit_keras.finetune(
            quick(2),
            task,
            output_dir=tmp_path / "run",
            budget={"steps": 1, "batch_size": 16, "resize": 36, "crop": 32},
            verbose=False,
            **arguments,
        )


def test_an_image_that_goes_is_named_by_evaluate(tmp_path):
    task = folder_task(tmp_path / "images")
    path = Path(next(task.test.elements().as_numpy_iterator())["path"].decode())
    path.unlink()
    rule = bit_keras.HyperRule.for_task(6, (8, 8)).scaled(resize=36, crop=32)
    with pytest.raises(ValueError, match=rf"{path} cannot be read: "):
        bit_keras.evaluate(quick(2), task, rule)


# Two of its states of 16 MB fit at first.
FULL_DISK = """
set -u
mkdir "$0/disk" && mount -t tmpfs -o size=40m tmpfs "$0/disk" || exit 9
"$@" --output_dir="$0/disk/run" > "$0/full.log" 2>&1; echo $?
ls -A "$0/disk/run" > "$0/full.txt"
mount -o remount,ro "$0/disk"
"$@" --output_dir="$0/disk/run" > "$0/read-only.log" 2>&1; echo $?
ls -A "$0/disk/run" > "$0/read-only.txt"
mount -o remount,rw,size=200m "$0/disk"
"$@" --output_dir="$0/disk/run" > "$0/larger.log" 2>&1; echo $?
cp -r "$0/disk/run" "$0/run"
"""


@pytest.mark.slow
def test_a_full_and_a_read_only_disk(tmp_path):
    as_root = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    script = ["unshare", *as_root, "--mount", "sh", "-c", FULL_DISK, str(tmp_path), *COMMAND]
    output = subprocess.check_output(script, cwd=ROOT, text=True, timeout=600)
    assert output.split() == ["2", "2", "0"]
    full, read_only, larger = (
        (tmp_path / f"{name}.log").read_text() for name in ("full", "read-only", "larger")
    )
    assert "No space left on device, while saving" in full
    assert re.search(r"The last good state is \S+/state-4\.npz\. The same call goes on", full)
    names = (tmp_path / "full.txt").read_text()
    assert names.split() == ["config.json", "state-2.npz", "state-4.npz", "tensorboard"]
    assert "cannot be written (Read-only file system)" in read_only
    assert (tmp_path / "read-only.txt").read_text() == names
    assert "Going on after step 4." in larger
    assert start(tmp_path / "alone", tmp_path / "alone.log").wait(timeout=300) == 0
    assert_same_weights(tmp_path / "run", tmp_path / "alone")

"""One process at a time in a run's directory; the others are processes with filelock alone."""

import contextlib
import errno
import os
import subprocess
import sys

import pytest
import tensorflow as tf
from absl import logging
from filelock import FileLock

import bit_keras
from bit_keras.training import run_directory, workers
from bit_keras.training.run_lock import LOCK, held

HOLD = """
import sys, filelock
with filelock.FileLock(sys.argv[1], timeout=0):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def other_process(directory):
    """Another process that holds the directory, or has tried to."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, directory / LOCK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        said = process.stdout.readline()
        try:
            yield process if said else None
        finally:
            process.kill()


def test_others_are_kept_out_and_nothing_is_left(tmp_path):
    with held(tmp_path), held(tmp_path / "."), other_process(tmp_path) as other:
        assert other is None
    assert not os.listdir(tmp_path)
    with other_process(tmp_path) as other:
        assert other is not None


def test_the_lock_of_a_killed_process_is_nobodys(tmp_path):
    with other_process(tmp_path) as other:
        message = f"Another process is training in {tmp_path}. Wait"
        with pytest.raises(BlockingIOError, match=message), held(tmp_path):
            pass
        other.kill()
        other.wait()
        assert os.listdir(tmp_path) == [LOCK]
        with held(tmp_path):
            pass
    assert not os.listdir(tmp_path)


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def acquire(self):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    warnings = []
    monkeypatch.setattr(FileLock, "_acquire", acquire)
    monkeypatch.setattr(logging, "warning", lambda form, *values: warnings.append(form % values))
    with held(tmp_path), held(tmp_path):
        pass
    (warning,) = warnings
    assert "No locks available" in warning


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_is_one_process_until_it_ends(overwrite, tmp_path):
    strategy = tf.distribute.get_strategy()

    def claim(configuration):
        with workers.naming_lost_workers(strategy):
            workers.claim(strategy, tmp_path, configuration, overwrite)
            with other_process(tmp_path) as other:
                assert other is None
            raise InterruptedError

    theirs = {"state-1.npz", ".0123456789abcdef.partial.npz", LOCK}
    with other_process(tmp_path):
        run_directory.write_json(tmp_path / run_directory.CONFIG, {"seed": 0})
        for name in theirs - {LOCK}:
            (tmp_path / name).write_text("of the other process")
        with pytest.raises(BlockingIOError, match="Another process is training in"):
            claim({"seed": 0})
        assert set(os.listdir(tmp_path)) == theirs | {run_directory.CONFIG}
    with pytest.raises(InterruptedError):
        claim({"seed": 0})
    if not overwrite:
        with pytest.raises(ValueError, match="of another configuration"):
            claim({"seed": 1})
    with other_process(tmp_path) as other:
        assert other is not None


@pytest.mark.parametrize("train", [bit_keras.finetune, bit_keras.pretrain])
def test_every_training_asks(train, tmp_path):
    with other_process(tmp_path), pytest.raises(BlockingIOError, match="Another process"):
        train("R14x0.5", "digits", output_dir=tmp_path, verbose=False)


@pytest.mark.slow
def test_two_commands_at_once(tmp_path):
    command = [sys.executable, "-m", "bit_keras", "pretrain", "--steps=20", "--batch_size=8"]
    command += ["--warmup_steps=0", "--save_every=1", f"--output_dir={tmp_path / 'run'}"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = {}
    for process in both:
        _, error = process.communicate(timeout=600)
        said[process.returncode] = error
    assert set(said) == {0, 2}
    assert f"bit-keras: Another process is training in {tmp_path / 'run'}." in said[2]
    assert (tmp_path / "run" / run_directory.METRICS).exists()


def test_the_runs_of_a_study_are_not_removed_while_one_is_at_work(tmp_path):
    run = run_directory.seed_run(tmp_path, 0)
    run_directory.claim(run, {"seed": 0}, overwrite=False)
    with other_process(run), pytest.raises(BlockingIOError, match=r"training in .*seed-0"):
        run_directory.remove(tmp_path)
    assert (run / run_directory.CONFIG).exists()
    run_directory.remove(tmp_path)
    assert not os.listdir(tmp_path)

"""Each training locks its run's directory against other processes until it ends."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf
from other_process import other_process

import bit_keras
from bit_keras.runs import run_directory
from bit_keras.runs.run_directory import LOCK
from bit_keras.training import workers


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_claimed_directory_is_locked_until_the_run_ends(overwrite, tmp_path):
    strategy = tf.distribute.get_strategy()

    def claim(configuration):
        with workers.claimed(strategy, tmp_path, configuration, overwrite):
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
def test_every_training_refuses_a_locked_directory(train, tmp_path):
    with other_process(tmp_path), pytest.raises(BlockingIOError, match="Another process"):
        train("R14x0.5", "digits", output_dir=tmp_path, verbose=False)


@pytest.mark.slow
def test_of_two_commands_at_once_one_is_refused(tmp_path):
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

"""A run's directory is locked against other processes."""

import errno
import os

import pytest
from absl import logging
from filelock import FileLock
from other_process import other_process

from bit_keras.runs import run_directory
from bit_keras.runs.run_directory import LOCK, held


def test_other_processes_are_locked_out_and_the_lock_file_is_removed(tmp_path):
    with held(tmp_path), held(tmp_path / "."), other_process(tmp_path) as other:
        assert other is None
    assert not os.listdir(tmp_path)
    with other_process(tmp_path) as other:
        assert other is not None


def test_the_lock_of_a_killed_process_is_free(tmp_path):
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


def test_a_file_system_without_locks_gives_one_warning(tmp_path, monkeypatch):
    def acquire(self):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    warnings = []
    monkeypatch.setattr(FileLock, "_acquire", acquire)
    monkeypatch.setattr(logging, "warning", lambda form, *values: warnings.append(form % values))
    with held(tmp_path), held(tmp_path):
        pass
    (warning,) = warnings
    assert "No locks available" in warning


def test_runs_of_several_seeds_are_not_removed_while_one_is_running(tmp_path):
    run = run_directory.seed_run(tmp_path, 0)
    run_directory.claim(run, {"seed": 0}, overwrite=False)
    with other_process(run), pytest.raises(BlockingIOError, match=r"training in .*seed-0"):
        run_directory.remove(tmp_path)
    assert (run / run_directory.CONFIG).exists()
    run_directory.remove(tmp_path)
    assert not os.listdir(tmp_path)

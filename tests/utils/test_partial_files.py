"""What a killed process has left is removed by the next one that writes to the same place."""

import os
import subprocess
import sys

import pytest

from bit_keras.exporters.saved_model_directory import atomic_directory
from bit_keras.utils.atomic_file import atomic_write
from bit_keras.utils.partial_files import partial_path, partial_prefix

# Each program is killed while it writes to its first argument.
FILE = """
from bit_keras.utils.atomic_file import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""

DIRECTORY = """
from bit_keras.exporters.saved_model_directory import atomic_directory
with atomic_directory(sys.argv[1], overwrite=False) as temporary:
    (temporary / "variables").mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
"""

# The folder that an export to another format makes beside its file.
FOLDER = """
import pathlib, tempfile
from bit_keras.utils.partial_files import partial_prefix
path = pathlib.Path(sys.argv[1])
with tempfile.TemporaryDirectory(".partial", partial_prefix(path), path.parent):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill(program, path):
    command = [sys.executable, "-c", f"import os, signal, sys\n{program}", str(path)]
    assert subprocess.run(command, check=False).returncode == -9


@pytest.mark.parametrize("name", ["model.onnx", "x" * 250, "no suffix", "caf\udce9.tar-gz"])
def test_a_killed_write_of_a_file_is_cleaned_by_the_next_one(name, tmp_path):
    for program in (FILE, FOLDER):
        kill(program, tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_write(tmp_path / "another") as temporary:
        temporary.write_text("whole")
    assert len(list(tmp_path.iterdir())) == 3, "what was left belongs to another file"
    with atomic_write(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {name, "another"}


def test_a_killed_export_of_a_saved_model_is_cleaned_by_the_next_one(tmp_path):
    kill(DIRECTORY, tmp_path / "exported")
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_directory(tmp_path / "exported", overwrite=False) as temporary:
        (temporary / "saved_model.pb").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


def test_what_another_living_process_writes_stays(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    ours = partial_path(path)
    monkeypatch.setattr(os, "getpid", os.getppid)
    theirs = partial_path(path)
    elsewhere = tmp_path / partial_prefix(path).replace("-", "-0", 1)
    for left in (ours, theirs, elsewhere):
        left.touch()
    with atomic_write(path) as temporary:
        temporary.touch()
    assert set(tmp_path.iterdir()) == {path, ours, theirs, elsewhere}

"""Commands whose output is closed, cut off by its reader, or in an encoding of few characters."""

import contextlib
import io
import os
import subprocess
import sys

import pytest
from experiments.made_up_runs import make_run
from networks import QuickResNet

from bit_keras.cli.main import main
from bit_keras.cli.standard_streams import lasting_streams
from bit_keras.models import zoo

pytestmark = pytest.mark.usefixtures("no_drawing")


def ended_reader():
    """A stream into a pipe whose reader has ended; each line reaches the pipe at once."""
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w", buffering=1, encoding="utf-8")


def full_device():
    """A stream that is buffered, onto a device that is always full."""
    return open("/dev/full", "w", encoding="utf-8")


def closed_terminal():
    """A stream onto a terminal that the user has closed."""
    terminal, writer = os.openpty()
    os.close(terminal)
    return open(writer, "w", buffering=1, encoding="utf-8")


UNWRITABLE = (ended_reader, full_device, closed_terminal)


@contextlib.contextmanager
def streams(make):
    """Standard output and standard error are two streams that cannot be written.

    A fixture could not set them, because pytest sets its own between a fixture and its test.
    """
    with pytest.MonkeyPatch.context() as patch, make() as stdout, make() as stderr:
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", stderr)
        yield


@pytest.fixture
def train(tmp_path, monkeypatch, eager):
    """Trains a small network for two steps, by the command line."""
    monkeypatch.setattr(zoo, "create", lambda name, *, classes, **_: QuickResNet(classes))
    arguments = ["finetune", "--model=BiT-S-R50x1", "--weights=none", "--steps=2", "--crop=32"]

    def train():
        status = main([*arguments, "--batch_size=4", f"--output_dir={tmp_path / 'run'}"])
        assert (tmp_path / "run" / "metrics.json").exists()
        return status

    return train


@pytest.mark.parametrize("make", UNWRITABLE)
@pytest.mark.parametrize("command", [["--help"], ["finetune", "--help"], ["models", "--where"]])
def test_a_printing_command_fails_only_if_somebody_misses_its_text(command, make):
    with streams(make):
        status = main(command)
    assert status == (2 if make is full_device else 0)


@pytest.mark.parametrize("make", UNWRITABLE)
def test_a_mistake_whose_message_nobody_reads_keeps_its_status(make):
    with streams(make):
        assert main(["finetun"]) == 2


@pytest.mark.parametrize("make", UNWRITABLE)
def test_a_training_goes_on_when_its_output_cannot_be_written(make, train):
    with streams(make):
        assert train() == 0


def test_a_full_device_is_named(monkeypatch, capsys):
    with full_device() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["models"]) == 2
    expected = "bit-keras: Standard output could not be written: No space left on device. "
    assert capsys.readouterr().err.startswith(expected)


def test_a_terminal_may_be_closed_in_the_middle(monkeypatch):
    terminal, writer = os.openpty()
    with open(writer, "w", buffering=1, encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with lasting_streams() as output:
            print("first")
            assert os.read(terminal, 100) == b"first\r\n"
            os.close(terminal)
            print("second")
            print("third", flush=True)
        assert output.problem is None


def test_a_training_without_standard_streams(train, monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert train() == 0
    assert main(["finetun"]) == 2


def test_no_file_takes_the_number_of_a_closed_stream():
    program = """
import os, sys
from bit_keras.cli.standard_streams import lasting_streams
with lasting_streams(), open("/proc/self/status") as file:
    print("text")
    os._exit(10 + file.fileno())
"""
    command = '"$0" -c "$1" <&- >&- 2>&-'
    result = subprocess.run(["sh", "-c", command, sys.executable, program], check=False)
    assert result.returncode > 12


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_terminal_that_lacks_characters(encoding, tmp_path, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    make_run(tmp_path / "a", "folder:日本 café", 0.9)
    make_run(tmp_path / "b", "folder:日本 café", 0.8, seed=1)
    assert main(["report", str(tmp_path), f"--output_dir={tmp_path / 'report'}"]) == 0
    stream.flush()
    said = stream.buffer.getvalue().decode(encoding)
    assert {"cp1252": r"\u65e5\u672c café", "ascii": r"caf\xe9", "utf-8": "日本 café"}[
        encoding
    ] in said
    assert {"ascii": r"85.00 \xb1 7.07"}.get(encoding, "85.00 ± 7.07") in said

"""Another process calls functions; its end, its errors and what it prints do no harm."""

import math
import os
import time

import pytest

from bit_keras.exporters.child_process import ChildProcess, EndedError


@pytest.fixture(scope="module")
def process():
    with ChildProcess() as process:
        yield process


def test_functions_are_called_one_after_the_other(process, capfd):
    assert process.call(math.factorial, 5, task="It") == 120
    assert process.call(print, "text", task="It") is None
    assert process.call(os.getpid, task="It") != os.getpid()
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        ((os.listdir, "/absent"), FileNotFoundError, "No such file or directory: '/absent'"),
        ((math.sqrt, -1), ValueError, "math domain error"),
        ((len, 5), ValueError, "has no len"),
        ((__import__, "absent"), ImportError, "No module named 'absent'"),
    ],
)
def test_an_error_is_raised_here(call, kind, message, process):
    with pytest.raises(kind, match=message):
        process.call(*call, task="It")
    assert process.call(math.factorial, 3, task="It") == 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ((os.abort,), "The work failed: the process .* by the signal SIGABRT"),
        ((os._exit, 3), "with the status 3"),
    ],
)
def test_the_end_of_the_process_is_an_error(call, message):
    with ChildProcess() as process:
        for _ in range(2):
            with pytest.raises(EndedError, match=message):
                process.call(*call, task="The work")


def test_an_error_here_ends_the_process_at_once():
    started, start = [], time.monotonic()

    def interrupted():
        with ChildProcess() as process:
            started.append(process.call(os.getpid, task="It"))
            process._send((time.sleep, (1000,)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - start < 100
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)

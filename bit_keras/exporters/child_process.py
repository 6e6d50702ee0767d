"""A second Python process, in which code that might abort cannot take the user's process with it.

The converters and engines of other formats are C++ programs. If one of them aborts, for example
because the memory is full, the process that called it ends without an exception.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO

# The program of the process. The modules are looked for in the folders of this process.
_PROGRAM = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from bit_keras.exporters.child_process import serve
serve()
"""

# The number of seconds that the process gets to end by itself.
_SECONDS_TO_END = 10


class EndedError(RuntimeError):
    """The process ended, for example by an abort, before it gave the result of a function."""


class ChildProcess:
    """A context manager: a process that calls functions for this process, one after the other.

    The process does not run the user's program again, as one of `multiprocessing` would do, and
    uses no GPU, whose memory may be in use here.

    Example:

    >>> import math
    >>> with ChildProcess() as process:
    ...     process.call(math.factorial, 5, task="The factorial")
    120
    """

    def __enter__(self) -> "ChildProcess":
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        )
        self._send(sys.path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._process.kill()
        self._end()
        self._process.stdout.close()

    def _end(self) -> int:
        """Ends the process and returns its exit status, which is negative for a signal."""
        # The stream may hold a message that a process which has ended did not take.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            return self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def call(self, function: Callable, *arguments: Any, task: str) -> Any:
        """Calls a function in the process and returns its result.

        Args:
            function: a function of a module, which the process imports by its name.
            *arguments: data that can be pickled, like the result.
            task: what the function does, as the subject of a sentence.

        Raises:
            EndedError: the process ended, for example by an abort.
            OSError, ImportError: the function raised this error.
            ValueError: the function raised an error of another class.
        """
        self._send((function, arguments))
        try:
            result, error = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError):
            raise EndedError(f"{task} failed: {self._how_it_ended()}") from None
        if error is not None:
            raise error
        return result

    def _send(self, message: Any) -> None:
        # If the process has ended, its answer will be missing, and `call` says why.
        if self._process.stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()

    def _how_it_ended(self) -> str:
        status = self._end()
        if status >= 0:
            return f"the process that did it ended with the status {status}."
        name = signal.Signals(-status).name
        memory = " There may be too little memory." if name == "SIGKILL" else ""
        return f"the process that did it was ended by the signal {name}.{memory}"


def serve() -> None:
    """Calls functions for the parent process until that process closes the pipe."""
    # A child process ignores Ctrl-C, because the parent process handles it and ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a library prints goes to standard error, because standard output carries the results.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        while True:
            try:
                function, arguments = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            _answer(function, arguments, answers)


def _answer(function: Callable, arguments: tuple, answers: BinaryIO) -> None:
    try:
        answer = function(*arguments), None
    # All exceptions are caught, because each library raises its own classes of errors.
    except Exception as error:
        answer = None, _plain(error)
    pickle.dump(answer, answers)
    answers.flush()


def _plain(error: Exception) -> Exception:
    """Returns the error as one of Python's own classes, which every process can unpickle."""
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    kinds = (ImportError, OSError, ValueError)
    kind = next((kind for kind in kinds if isinstance(error, kind)), ValueError)
    return kind(str(error).strip() or type(error).__name__)

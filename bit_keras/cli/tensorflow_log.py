"""Hides TensorFlow's own log lines from users of the command line."""

import contextlib
import importlib.abc
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from bit_keras.cli.standard_streams import is_open

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_NO_LINES = "3"

# The program of a separate process that filters standard error. A separate process still prints the
# last error messages if TensorFlow crashes the command itself.
_FILTER = r"""
import re, sys
for line in sys.stdin.buffer:
    if not re.match(rb"[IWE]\d{4} [\d:.]+ +\d+ \w+\.cc:|WARNING: All log messages", line):
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
"""


def hide_tensorflow_log() -> None:
    """Hides TensorFlow's log lines in this process, unless the user set TF_CPP_MIN_LOG_LEVEL.

    TensorFlow reads that variable, but logs some lines before it does, while its libraries are
    loaded. Standard error is therefore filtered while TensorFlow is imported.
    """
    os.environ.setdefault(_LEVEL, _NO_LINES)
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _QuietTensorflow())


@contextlib.contextmanager
def filtered_stderr() -> Iterator[None]:
    """Removes TensorFlow's log lines from what this process and its children write to stderr.

    Nothing is removed if TF_CPP_MIN_LOG_LEVEL asks for some of the lines, or if standard error is
    closed. Every child that is started inside must end inside.
    """
    if os.environ.get(_LEVEL) != _NO_LINES or not is_open(2):
        yield
        return
    command = [sys.executable, "-I", "-S", "-c", _FILTER]
    # The filter gets its own session, so that Ctrl-C does not stop the filter before the command.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    stderr = os.dup(2)
    os.dup2(process.stdin.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        process.stdin.close()
        process.wait()


class _QuietTensorflow(importlib.abc.MetaPathFinder):
    """An import hook that filters standard error while TensorFlow is imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                with filtered_stderr():
                    execute(module)

            spec.loader.exec_module = exec_module
        return spec

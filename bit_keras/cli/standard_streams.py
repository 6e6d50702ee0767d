"""Keeps a command running if standard output is closed, or its encoding lacks a character."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


@contextlib.contextmanager
def lasting_streams() -> Iterator[None]:
    """A context manager: printing inside does not fail for a closed stream or missing character.

    * A stream was closed before the program started (`>&-`): its texts go nowhere. A file that is
      opened later cannot take the stream's number, so that no log line is written into it.
    * The reader of a pipe has ended (`| head`): the rest goes nowhere, and the command goes on.
    * The terminal's encoding lacks a character: it is escaped.
    """
    # Closed standard streams are opened on the null device, in rising order, because `os.open`
    # takes the lowest free descriptor.
    for number in (0, 1, 2):
        if not is_open(number):
            os.open(os.devnull, os.O_RDWR)
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        before = sys.stdout, sys.stderr
        lasting = [_LastingStream(stream or nowhere) for stream in before]
        sys.stdout, sys.stderr = lasting
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            for stream in lasting:
                stream.flush()


def is_open(descriptor: int) -> bool:
    """Returns True if a file descriptor is open."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class _LastingStream:
    """A text stream whose `write` and `flush` do not fail if the reader of the stream has ended."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text, with escapes for the characters that the encoding lacks."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._write_nowhere()
            return len(text)

    def flush(self) -> None:
        """Writes the buffered text, or discards it if the reader of the stream has ended."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._write_nowhere()

    def _write_nowhere(self) -> None:
        # The stream's buffer still holds the text that could not be written. The stream's
        # descriptor is redirected to the null device, so that `flush` discards the text.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        self._stream.flush()

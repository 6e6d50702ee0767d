"""Keeps a command running if what it prints cannot be written, or its encoding is too small."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


@contextlib.contextmanager
def lasting_streams() -> Iterator["LastingStream"]:
    """A context manager: printing inside does not fail for a closed stream or missing character.

    * A stream was closed before the program started (`>&-`): its texts go nowhere. A file that is
      opened later cannot take the stream's number, so that no log line is written into it.
    * The reader of a pipe has ended (`| head`), the terminal is gone, or the disk with the log is
      full: the rest goes nowhere, and the command goes on.
    * The terminal's encoding lacks a character: it is escaped.

    It gives standard output, whose `problem` says after a flush whether text was lost.
    """
    # Closed standard streams are opened on the null device, in rising order, because `os.open`
    # takes the lowest free descriptor.
    for number in (0, 1, 2):
        if not is_open(number):
            os.open(os.devnull, os.O_RDWR)
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        before = sys.stdout, sys.stderr
        lasting = [LastingStream(stream or nowhere) for stream in before]
        sys.stdout, sys.stderr = lasting
        try:
            yield lasting[0]
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


# The errors of a pipe whose reader has ended, and of a terminal that was closed: nobody is there to
# read the rest, so nothing is missed.
_NOBODY_READS = (errno.EPIPE, errno.EIO)


class LastingStream:
    """A text stream whose `write` and `flush` do not fail if the stream cannot be written.

    Attributes:
        problem: the first error by which text was lost that somebody may miss, for example that of
            a full disk; None if there is none.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.problem: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text, with escapes for the characters that the encoding lacks."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        try:
            return self._stream.write(text)
        except OSError as error:
            self._write_nowhere(error)
            return len(text)

    def flush(self) -> None:
        """Writes the buffered text, or discards it if the stream cannot be written."""
        try:
            self._stream.flush()
        except OSError as error:
            self._write_nowhere(error)

    def _write_nowhere(self, error: OSError) -> None:
        if error.errno not in _NOBODY_READS:
            self.problem = self.problem or error
        # The stream's buffer still holds the text that could not be written. The stream's
        # descriptor is redirected to the null device, so that `flush` discards the text.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        self._stream.flush()

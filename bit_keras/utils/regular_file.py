"""Keeps programs from waiting for ever: a FIFO, a socket or a device is not opened as a file."""

import errno
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


class SpecialFileError(OSError):
    """Raised if a path is a FIFO, a socket, a device or a folder where a file was expected."""


def check_regular_file(path: str | os.PathLike) -> None:
    """Raises an OSError unless a path is a regular file, or a link to one.

    Raises:
        SpecialFileError: the path is something else; opening a FIFO could wait for ever, and
            reading a device might never end.
        OSError: the path does not exist, or may not be looked at.
    """
    kind = os.stat(path).st_mode
    if stat.S_ISDIR(kind):
        os.scandir(path).close()  # Raises an OSError that says why a folder cannot be opened.
    if not stat.S_ISREG(kind):
        name = _KINDS.get(stat.S_IFMT(kind), "a special file")
        raise SpecialFileError(
            errno.EINVAL, f"The path is {name}, not a regular file", os.fspath(path)
        )


def read_regular_file(path: str | os.PathLike) -> bytes:
    """Returns the content of a regular file.

    Raises:
        OSError: the path is not a regular file, or it cannot be read.
    """
    check_regular_file(path)
    return Path(path).read_bytes()

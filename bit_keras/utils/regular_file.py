"""Keeps programs from waiting for ever: a FIFO, a socket or a device is not opened as a file."""

import errno
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFREG: "a regular file",
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
    kind = kind_of(path)
    if kind == "a folder":
        os.scandir(path).close()  # Raises an OSError that says why a folder cannot be opened.
    if kind != "a regular file":
        raise SpecialFileError(
            errno.EINVAL, f"The path is {kind}, not a regular file", os.fspath(path)
        )


def kind_of(path: str | os.PathLike) -> str:
    """Returns what a path is: "a regular file", "a folder", "a FIFO", "a socket", "a device" ...

    Raises:
        OSError: the path does not exist, or may not be looked at.
    """
    return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "a special file")


def read_regular_file(path: str | os.PathLike) -> bytes:
    """Returns the content of a regular file.

    Raises:
        OSError: the path is not a regular file, or it cannot be read.
    """
    check_regular_file(path)
    return Path(path).read_bytes()

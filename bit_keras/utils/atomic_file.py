"""Atomic writing of files, and syncing of files to the disk."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bit_keras.utils.partial_files import partial_path, remove_left


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path; renames the file there to `path` if the `with` block succeeds.

    When the block raises, the temporary file is removed and an existing file at `path` stays. At
    any time, and after a power cut, `path` is the old file or the new one, never a part of one.
    What an earlier process left when it was killed is removed.

    Args:
        path: the file to write; its directory exists. If it is a link, the target is written. An
            existing file keeps its permissions. The temporary path has the same suffix.

    Raises:
        OSError: `path` is a directory, or its directory does not exist or cannot be written.

    Example:

    >>> with atomic_write("/tmp/answer.txt") as temporary:
    ...     temporary.write_text("42")
    2
    """
    path = resolved(path)
    if path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "A file cannot be written over a directory", str(path)
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such directory", str(path.parent))
    remove_left(path)
    temporary = partial_path(path, path.suffix)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def resolved(path: str | os.PathLike) -> Path:
    """Returns an absolute path in which "~" and all links are replaced by what they stand for."""
    return Path(os.path.realpath(Path(path).expanduser()))


def check_creatable(path: Path) -> None:
    """Raises an OSError that names `path` if no file can be made in its directory.

    If the directory does not exist yet, the nearest one above it that exists is tried.
    """
    folder = next((folder for folder in path.absolute().parents if folder.exists()), path)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(
            error.errno, f"No file can be made in {folder} ({error.strerror})", str(path)
        ) from error


def sync_tree(directory: Path) -> None:
    """Flushes all files below a directory, and their names, to the disk."""
    for folder, _, files in os.walk(directory):
        for file in files:
            with open(os.path.join(folder, file), "rb") as opened:
                os.fsync(opened.fileno())
        sync_entries(Path(folder))


def sync_entries(directory: Path) -> None:
    """Flushes a directory's list of names to the disk, so that a rename survives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

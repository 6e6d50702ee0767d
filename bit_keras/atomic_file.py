"""Files that appear whole or not at all, and what is on the disk for certain."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`; moves it there when the block ends well.

    When the block raises, the temporary file is removed and what was at `path` stays. A reader,
    or a power cut, sees the old file or the new one and never half of either.

    Args:
        path: the file to write; its directory exists. A link stays, and its target is written;
            a file that was there keeps its permissions. The temporary path has the same suffix.

    Raises:
        OSError: when `path` is a directory, or its directory is not there or cannot be written.

    Example:

    >>> with written_whole("/tmp/answer.txt") as temporary:
    ...     temporary.write_text("42")
    2
    """
    path = Path(os.path.realpath(Path(path).expanduser()))
    if path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "A file cannot be written over a directory", str(path)
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such directory", str(path.parent))
    # A name of its own for each thread of each process, and as short as a name can be.
    temporary = path.with_name(f".{secrets.token_hex(8)}.partial{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_tree(directory: Path) -> None:
    """Has the system write all files below a directory to the disk, and their names."""
    for folder, _, files in os.walk(directory):
        for file in files:
            with open(os.path.join(folder, file), "rb") as opened:
                os.fsync(opened.fileno())
        sync_entries(Path(folder))


def sync_entries(directory: Path) -> None:
    """Has the system write the names in a directory to the disk: a rename outlives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Writes the directory of a SavedModel atomically: completely, or not at all."""

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bit_keras.utils.atomic_file import check_creatable, resolved, sync_entries, sync_tree
from bit_keras.utils.partial_files import partial_path, remove_left

# The files and folders that TensorFlow and Keras write into the directory of a SavedModel.
_ENTRIES = {
    "saved_model.pb",
    "saved_model.pbtxt",
    "fingerprint.pb",
    "keras_metadata.pb",
    "variables",
    "assets",
}


# Constants for the system call renameat2, from linux/fcntl.h and linux/fs.h.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def check_target(path: str | os.PathLike, overwrite: bool) -> None:
    """Raises an OSError unless a SavedModel may be written to `path`.

    `path` may be free, an empty directory or, with `overwrite`, the directory of a SavedModel. A
    directory that contains any other file is never replaced.
    """
    if "://" in os.fspath(path):
        raise OSError(
            errno.EINVAL,
            "The path is a URL; export to a local path, and copy the result",
            os.fspath(path),
        )
    path = resolved(path)
    check_creatable(path)
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise FileExistsError(errno.EEXIST, "The path is a file; choose another path", str(path))
    entries = {entry.name for entry in path.iterdir()}
    if entries and not overwrite:
        raise FileExistsError(
            errno.EEXIST, "The path exists; choose another path, or overwrite", str(path)
        )
    strange = sorted(entries - _ENTRIES)
    if entries and (strange or not entries & {"saved_model.pb", "saved_model.pbtxt"}):
        has = f"it contains {strange[0]!r}" if strange else "it has no saved_model.pb"
        raise FileExistsError(
            errno.EEXIST,
            f"The directory is not only a SavedModel ({has}), so it is not replaced; choose "
            "another path",
            str(path),
        )


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike, overwrite: bool) -> Iterator[Path]:
    """Yields a temporary directory, and moves it to `path` at the end of the `with` block.

    If the block raises an error, the temporary directory is removed, and `path` does not change.
    After a kill or a power cut, and for every reader, `path` holds the old SavedModel or the new
    one; the next export to `path` removes what was left. (If the file system cannot exchange two
    names in one step, the old SavedModel is for a moment at `path` with the suffix `.replaced`.)

    Args:
        path: the directory to write. If it is a link, the link's target is written. Parent
            directories are created.
        overwrite: if True, replace an existing SavedModel.

    Raises:
        OSError: as for `check_target`, or the directory cannot be written.
    """
    check_target(path, overwrite)
    path = resolved(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left(path)
    temporary = partial_path(path)
    temporary.mkdir()
    try:
        yield temporary
        sync_tree(temporary)
        # `path` is checked again, because writing the SavedModel may have taken a long time.
        check_target(path, overwrite)
        if overwrite and path.exists():
            _exchange(temporary, path)
        else:
            # os.rename fails if another process has written files to `path` since the last check.
            os.rename(temporary, path)
        sync_entries(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(new: Path, old: Path) -> None:
    """Swaps two directories by one rename, or by three if the system cannot swap names."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        names = os.fsencode(new), os.fsencode(old)
        if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return
    aside = old.with_name(f"{old.name}.replaced")
    os.rename(old, aside)
    os.rename(new, old)
    os.rename(aside, new)

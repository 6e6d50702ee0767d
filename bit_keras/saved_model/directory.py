"""SavedModel directories that appear whole or not at all."""

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from bit_keras.atomic_file import sync_entries, sync_tree

# What TensorFlow and Keras put into the directory of a SavedModel.
_ENTRIES = {
    "saved_model.pb",
    "saved_model.pbtxt",
    "fingerprint.pb",
    "keras_metadata.pb",
    "variables",
    "assets",
}

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def check_target(path: str | os.PathLike, overwrite: bool) -> None:
    """Raises an OSError unless a SavedModel may be written to `path`.

    Nothing may be there but an empty directory or, with `overwrite`, a SavedModel: a directory with
    a file in it that belongs to none is never replaced.
    """
    if "://" in os.fspath(path):
        raise OSError(
            errno.EINVAL, "Not a path of this machine; export to one and copy that", os.fspath(path)
        )
    path = _resolved(path)
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise FileExistsError(errno.EEXIST, "A file is there; choose another path", str(path))
    entries = {entry.name for entry in path.iterdir()}
    if entries and not overwrite:
        raise FileExistsError(
            errno.EEXIST, "It exists; choose another path, or overwrite", str(path)
        )
    strange = sorted(entries - _ENTRIES)
    if entries and (strange or not entries & {"saved_model.pb", "saved_model.pbtxt"}):
        has = f"it has {strange[0]!r}" if strange else "it has no saved_model.pb"
        raise FileExistsError(
            errno.EEXIST,
            f"It is not only a SavedModel ({has}) and is not replaced; choose another path",
            str(path),
        )


@contextlib.contextmanager
def directory_written_whole(path: str | os.PathLike, overwrite: bool) -> Iterator[Path]:
    """Yields a temporary directory beside `path`; moves it there when the block ends well.

    When the block raises, the temporary directory is removed and what was at `path` stays. A
    reader, a kill or a power cut meets the old SavedModel or the new one. (Where the file system
    cannot exchange two names in one step, as Linux' own can, the old one is for a moment at
    `path` with `.replaced` behind it.)

    Args:
        path: a link stays, and its target is written; parent directories are made.
        overwrite: whether a SavedModel that is there is replaced.

    Raises:
        OSError: as `check_target`; or it cannot be written.
    """
    check_target(path, overwrite)
    path = _resolved(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.partial")
    temporary.mkdir()
    try:
        yield temporary
        sync_tree(temporary)
        # Again: a lot of time may have gone by.
        check_target(path, overwrite)
        if overwrite and path.exists():
            _exchange(temporary, path)
        else:
            os.rename(temporary, path)  # fails if somebody else's files are there by now
        sync_entries(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _resolved(path: str | os.PathLike) -> Path:
    return Path(os.path.realpath(Path(path).expanduser()))


def _exchange(new: Path, old: Path) -> None:
    """Exchanges two directories in one step, or in two where the system has no such call."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        names = os.fsencode(new), os.fsencode(old)
        if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return
    aside = old.with_name(f"{old.name}.replaced")
    os.rename(old, aside)
    os.rename(new, old)
    os.rename(aside, new)

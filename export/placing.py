"""Places modules in a site, so that a killed publisher never leaves an incomplete module.

A module is built in `.publisher/incoming/`. Renaming its directory to `.publisher/ready/` publishes
it; from there, its parts are moved into place. If the publisher is killed before all parts are
moved, the next publisher moves the rest before it does anything else.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from export.error import PublishError
from export.site import archive_path, module_directory, read_record, record_path

# The names in .publisher/, the publishing program's own folder: the SavedModel, its tar archive,
# the JSON record of how it was made, and the error message of a model that was not published.
MODULE, ARCHIVE, RECORD, ERROR = "module", "archive", "record.json", "error.txt"

_REPLACED = "replaced"


@contextlib.contextmanager
def opened(site: Path) -> Iterator[None]:
    """Creates a site if needed, locks it, and finishes the work of a killed publisher.

    Raises:
        PublishError: another process has locked the site.
    """
    (site / ".publisher").mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(site / ".publisher" / "lock", timeout=0):
            shutil.rmtree(_incoming(site), ignore_errors=True)
            for directory in sorted(_ready(site).glob("*")):
                _move_into_place(site, directory)
            yield
    except Timeout:
        raise PublishError(
            f"Another publisher is working on {site}. Wait until it has finished."
        ) from None


@contextlib.contextmanager
def staging(site: Path) -> Iterator[Path]:
    """Yields an empty temporary directory in the site, and removes it when the block ends."""
    directory = _incoming(site) / secrets.token_hex(8)
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def place_module(site: Path, staged: Path) -> None:
    """Publishes the files of a module from a temporary directory that `staging` has made.

    A published module with the same handle is replaced.
    """
    _sync_tree(staged)
    ready = _ready(site) / staged.name
    ready.parent.mkdir(exist_ok=True)
    os.rename(staged, ready)
    _sync(ready.parent)
    _move_into_place(site, ready)


def place_text(site: Path, path: Path, text: str) -> None:
    """Writes a text file of the site atomically, unless it has this content already."""
    content = text.encode()
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with staging(site) as staged:
        (staged / "text").write_bytes(content)
        _sync_tree(staged)
        os.replace(staged / "text", path)


def _move_into_place(site: Path, ready: Path) -> None:
    """Moves a module's files into place; skips files that a killed process has already moved.

    The record is moved last. If `ready` contains no record, all parts are in place.
    """
    if (ready / RECORD).exists():
        handle = read_record(ready / RECORD)["handle"]
        directory = module_directory(site, handle)
        archive, record = archive_path(site, handle), record_path(site, handle)
        for path in (directory, archive, record):
            path.parent.mkdir(parents=True, exist_ok=True)
        if (ready / MODULE).exists():
            if directory.exists():
                os.rename(directory, ready / _REPLACED)
            os.rename(ready / MODULE, directory)
        if (ready / ARCHIVE).exists():
            os.replace(ready / ARCHIVE, archive)
        for path in (directory, archive, record):
            _sync(path.parent)
        os.replace(ready / RECORD, record)
        _sync(record.parent)
    shutil.rmtree(ready)


def _sync_tree(directory: Path) -> None:
    """Flushes a directory and everything below it to the disk."""
    for path in (directory, *directory.rglob("*")):
        _sync(path)


def _sync(path: Path) -> None:
    """Flushes a file, or a directory's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _incoming(site: Path) -> Path:
    return site / ".publisher" / "incoming"


def _ready(site: Path) -> Path:
    return site / ".publisher" / "ready"

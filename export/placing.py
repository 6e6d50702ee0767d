"""Modules that appear in a site whole or not at all, whenever the publisher is killed.

A module is made in `.publisher/incoming/`. One rename to `.publisher/ready/` publishes it: from
there its parts are moved into place, and a publisher that was killed meanwhile leaves that to the
next one, which begins with it.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from bit_keras.atomic_file import sync_entries, sync_tree
from export.error import PublishError
from export.site import archive_path, module_directory, read_record, record_path

# The parts of a module, in .publisher/, and why there is none.
MODULE, ARCHIVE, RECORD, ERROR = "module", "archive", "record.json", "error.txt"

_REPLACED = "replaced"


@contextlib.contextmanager
def opened(site: Path) -> Iterator[None]:
    """Makes a site, holds it for this process, and ends what a killed one had begun.

    Raises:
        PublishError: another process holds it.
    """
    (site / ".publisher").mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(site / ".publisher" / "lock", timeout=0):
            shutil.rmtree(_incoming(site), ignore_errors=True)
            for directory in sorted(_ready(site).glob("*")):
                _move_into_place(site, directory)
            yield
    except Timeout:
        raise PublishError(f"Another publisher is at work on {site}: wait for it.") from None


@contextlib.contextmanager
def staging(site: Path) -> Iterator[Path]:
    """Yields an empty directory in the site, which is removed in the end."""
    directory = _incoming(site) / secrets.token_hex(8)
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def place_module(site: Path, staged: Path) -> None:
    """Publishes a directory of `staging` that has MODULE, ARCHIVE and RECORD, all at once.

    A module that is there under the record's handle is replaced.
    """
    sync_tree(staged)
    ready = _ready(site) / staged.name
    ready.parent.mkdir(exist_ok=True)
    os.rename(staged, ready)
    sync_entries(ready.parent)
    _move_into_place(site, ready)


def place_text(site: Path, path: Path, text: str) -> None:
    """Writes a text file of the site, whole or not at all, unless it says so already."""
    content = text.encode()
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with staging(site) as staged:
        (staged / "text").write_bytes(content)
        sync_tree(staged)
        os.replace(staged / "text", path)


def _move_into_place(site: Path, ready: Path) -> None:
    """Moves the parts of a module, those that a killed process has not yet moved.

    The record goes last: without it, all that is left in `ready` is rubbish.
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
            sync_entries(path.parent)
        os.replace(ready / RECORD, record)
        sync_entries(record.parent)
    shutil.rmtree(ready)


def _incoming(site: Path) -> Path:
    return site / ".publisher" / "incoming"


def _ready(site: Path) -> Path:
    return site / ".publisher" / "ready"

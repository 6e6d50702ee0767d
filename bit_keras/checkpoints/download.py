"""Downloads a published file by its name, and verifies it.

    in the cache, as it first came    used; no connection is opened
    in the cache, but changed         set aside, and fetched again
    placed there by hand              checked and recorded, then used like a fetched file
    not in the cache                  fetched by one of the processes that ask for it, checked,
                                      recorded, and moved into place in one step

`$BIT_KERAS_HOME` is the cache directory and `$BIT_KERAS_BASE_URL` the address that files come
from; with `BIT_KERAS_OFFLINE=1` nothing is fetched. This module imports no keras.
"""

import contextlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging
from filelock import FileLock

from bit_keras.checkpoints import cache, http
from bit_keras.checkpoints.address import address_of, check_address, shown_address
from bit_keras.checkpoints.archive import Archive
from bit_keras.checkpoints.catalog import Checkpoint
from bit_keras.checkpoints.errors import DownloadError
from bit_keras.checkpoints.reachable import problem_of_connection
from bit_keras.utils.regular_file import SpecialFileError

# Values of $BIT_KERAS_OFFLINE that allow connections; every other value forbids them.
_ONLINE = ("", "0", "false", "no", "off")

# The largest download, in bytes, of a file whose size is not in the catalogue, such as a list of
# labels, which has less than a million. A file with a size in the catalogue may have twice that
# size, and this number of bytes more.
_MOST_BYTES = 1 << 26


def is_offline() -> bool:
    """Returns True if `$BIT_KERAS_OFFLINE` forbids all connections."""
    return os.environ.get("BIT_KERAS_OFFLINE", "").strip().lower() not in _ONLINE


def local_checkpoint(checkpoint: Checkpoint) -> Path:
    """Returns the local path of a published weight file, after fetching it if necessary.

    When the file comes, its size (where one is published), the headers of its arrays and the
    checksums of the archive are verified, and its digest is recorded. Later uses of the file are
    compared with that digest. Its keys and shapes are verified when it is loaded.

    Args:
        checkpoint: an entry of the catalogue.

    Raises:
        DownloadError: the file is not on this machine and cannot be fetched; no partial file is
            left in its place.
        OSError: the cache cannot be written.
    """

    def check(path: Path) -> None:
        size = path.stat().st_size
        if checkpoint.size_is_published and size != checkpoint.size:
            raise ValueError(
                f"the file has {size} bytes, but the published file has {checkpoint.size}"
            )
        _check_archive(path, size)

    return local_file(checkpoint.file, check, checkpoint.size)


def local_file(file: str, check: Callable[[Path], None], size: int | None = None) -> Path:
    """Returns the local path of any file that Google published, after fetching it if necessary.

    Args:
        file: its address relative to the base address.
        check: raises a ValueError for a file whose content cannot be right.
        size: expected number of bytes, which the message to a user without a network names.

    Raises:
        DownloadError: the file is not on this machine and cannot be fetched; no partial file is
            left in its place.
        OSError: the cache cannot be written.
    """
    path, address = cache.cache_path(file), address_of(file)

    def examine(candidate: Path) -> cache.Record:
        check(candidate)
        record = cache.make_record(candidate, shown_address(address))
        first = cache.read_record(path)
        if first and first.sha256 not in ("", record.sha256):
            raise ValueError(
                f"the file's sha256 is {record.sha256}, but at its first download it was "
                f"{first.sha256}. If the release has really changed, remove {path}.json and call "
                "again."
            )
        return record

    def accept(partial: Path) -> None:
        cache.set_back(partial)
        cache.move_into_place(partial, path, examine(partial))

    if _is_usable(path, examine):
        return path
    if is_offline():
        problem = "BIT_KERAS_OFFLINE=1 forbids fetching it"
        raise DownloadError(_offline_message(problem, address, path, size))
    check_address(address)
    _check_writable(path)
    problem = problem_of_connection(address)
    if problem is not None:
        problem = f"it could not be fetched, because {problem}"
        raise DownloadError(_offline_message(problem, address, path, size))
    with _lock(path):
        # While this process waited for the lock, another process may have downloaded the file.
        if not _is_usable(path, examine):
            # The unusable file is renamed while this process holds the lock. Without the lock, the
            # file could be a new one that another process has just downloaded.
            _set_aside(path)
            http.fetch(address, path, accept, 2 * (size or 0) + _MOST_BYTES)
    return path


def _check_archive(path: Path, size: int) -> None:
    """Raises an error unless a file is a complete npz archive of plain arrays; reads all arrays."""
    with Archive(path) as archive:
        members = archive.members.values()
        claimed = sum(math.prod(member.shape) * member.dtype.itemsize for member in members)
        # Published archives are not compressed, so their arrays take no more bytes than the file. A
        # compressed archive is refused, because a small one could fill the memory.
        if claimed > size:
            raise ValueError(f"the arrays would take {claimed} bytes, but the file has only {size}")
        for name in archive.members:
            archive.read(name)


def _is_usable(path: Path, examine: Callable[[Path], cache.Record]) -> bool:
    """Returns True if a file is in the cache and has not changed since its download.

    A file without a record was placed by hand: it is examined like a download. A record is
    written where it is missing, or where its marks of a change are, unless the cache cannot be
    written.
    """
    try:
        record = cache.read_record(path)
        if record is None:
            found = examine(path)
        elif cache.is_marked(path, record):
            return True
        else:
            found = cache.record_now(path, record)
            if not found.fits(record):
                return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (ValueError, SpecialFileError) as error:
        raise DownloadError(
            f"{path} was placed in the cache by hand and is not the file that belongs there. "
            f"Remove it, or put the right file there. What is wrong: {error}"
        ) from error
    if found != record:
        with contextlib.suppress(OSError):
            cache.write_record(path, found)
    return True


def _set_aside(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        aside = cache.set_aside(path)
        logging.warning("%s had changed since its download. It was renamed to %s.", path, aside)


def _missing(path: Path) -> str:
    if not path.exists():
        return f"{path.name} is not on this machine"
    return (
        f"{path.name} is not what its record {path}.json says (if you trust the file, remove the "
        "record)"
    )


def _offline_message(problem: str, address: str, path: Path, size: int | None) -> str:
    bytes_ = f" ({size:,} bytes)" if size else ""
    return (
        f"{_missing(path)}, and {problem}. On a machine with a network fetch "
        f"{shown_address(address)}{bytes_}, and put it at {path}. "
        "(bit-keras models --where prints the places of all files.)"
    )


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise DownloadError(
            f"{_missing(path)}, and the cache {path.parent} cannot be written ({error.strerror}). "
            "Set $BIT_KERAS_HOME to a directory that can be written."
        ) from error


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    # The lock only spares other processes a second download. Downloads must be correct without it
    # too, because some network file systems have no locks, or locks without effect.
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock)
        except (OSError, NotImplementedError) as error:
            logging.warning(
                "%s cannot be locked (%s): several processes may fetch it.", path, error
            )
        yield

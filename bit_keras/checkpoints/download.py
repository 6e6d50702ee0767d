"""From the name of a published file to a verified file on this machine.

    in the cache, as it first came    used; no connection is opened
    in the cache, but changed         as if it were not there, and set aside
    placed there by hand              checked and recorded, then as if it had been fetched
    not in the cache                  fetched by one of the processes that ask, checked, recorded,
                                      and moved into place in one step

`$BIT_KERAS_HOME` is the cache, `$BIT_KERAS_BASE_URL` where files come from, and with
`BIT_KERAS_OFFLINE=1` none is fetched. Imports no keras.
"""

import contextlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging
from filelock import FileLock

from bit_keras.checkpoints import cache, transfer
from bit_keras.checkpoints.archive import Archive
from bit_keras.checkpoints.catalog import Checkpoint
from bit_keras.checkpoints.error import DownloadError

# The official release (google-research/big_transfer, README).
_BASE_URL = "https://storage.googleapis.com/bit_models/"

# Whatever else $BIT_KERAS_OFFLINE is, whoever sets it wants no connection.
_ONLINE = ("", "0", "false", "no", "off")


def address_of(file: str) -> str:
    """Returns the address of a file of the release."""
    return (os.environ.get("BIT_KERAS_BASE_URL") or _BASE_URL).rstrip("/") + "/" + file


def local_checkpoint(checkpoint: Checkpoint) -> Path:
    """Returns the local path of a published weight file, fetched if need be.

    Its size (where one is published), the headers of its arrays and the archive's own CRCs are
    verified when it comes, and its digest is recorded; it is held to that digest ever after. Its
    schema is verified when it is loaded: see `discard`.

    Args:
        checkpoint: an entry of the catalogue.

    Raises:
        DownloadError: it is not here and cannot be fetched; nothing half-done is left.
        OSError: the cache cannot be written.
    """

    def check(path: Path) -> None:
        size = path.stat().st_size
        if checkpoint.size_is_published and size != checkpoint.size:
            raise ValueError(f"it has {size} bytes; {checkpoint.size} are published")
        _check_archive(path, size)

    return local_file(checkpoint.file, check, checkpoint.sha256, checkpoint.size)


def discard(path: Path) -> Path:
    """Sets aside a downloaded file whose content is wrong; the next call fetches it anew.

    Returns:
        Where the file is now.
    """
    return cache.forget(path)


def local_file(
    file: str,
    check: Callable[[Path], None],
    sha256: str | None = None,
    size: int | None = None,
) -> Path:
    """Returns the local path of a file of the release, fetched if need be.

    Args:
        file: its address below the base address.
        check: raises a ValueError for a file whose content cannot be right.
        sha256: hexadecimal digest that it must have, if somebody vouches for one.
        size: bytes to be expected, for the message to somebody who is offline.

    Raises:
        DownloadError: it is not here and cannot be fetched; nothing half-done is left.
        OSError: the cache cannot be written.
    """
    path, address = cache.cache_path(file), address_of(file)

    def examine(candidate: Path) -> cache.Record:
        check(candidate)
        record, first = cache.make_record(candidate, address), cache.read_record(path)
        if sha256 not in (None, record.sha256):
            raise ValueError(f"its sha256 is {record.sha256}; the catalogue says {sha256}")
        if sha256 is None and first and first.sha256 not in ("", record.sha256):
            raise ValueError(
                f"its sha256 is {record.sha256}, and it was {first.sha256} before. If the release "
                f"has really changed, remove {path}.json and call again."
            )
        return record

    def accept(partial: Path) -> None:
        # The record first: a file without one would be trusted as it is.
        cache.write_record(path, examine(partial))
        os.replace(partial, path)

    if _is_usable(path, examine, sha256):
        return path
    if os.environ.get("BIT_KERAS_OFFLINE", "").strip().lower() not in _ONLINE:
        raise DownloadError(_offline_message(address, path, size))
    _check_writable(path)
    with _lock(path):
        # Another process may have fetched it meanwhile.
        if not _is_usable(path, examine, sha256):
            # Only here: outside of the lock it could be the one that another has just fetched.
            _set_aside(path)
            transfer.fetch(address, path, accept)
    return path


def _check_archive(path: Path, size: int) -> None:
    """Refuses a file that is no whole archive of plain arrays: reads and checksums them all."""
    with Archive(path) as archive:
        members = archive.members.values()
        claimed = sum(math.prod(member.shape) * member.dtype.itemsize for member in members)
        # The release's archives are not compressed; without this, a small one could fill memory.
        if claimed > size:
            raise ValueError(f"its arrays take {claimed} bytes, and it has {size}")
        for name in archive.members:
            archive.read(name)


def _is_usable(
    path: Path, examine: Callable[[Path], cache.Record], sha256: str | None = None
) -> bool:
    """Whether the file is there, as it first came.

    One without a record was placed by hand: it is examined as if it came now, and gets a record,
    but for a cache that cannot be written.
    """
    try:
        record = cache.read_record(path)
        if record is not None:
            return sha256 in (None, record.sha256) and cache.is_unchanged(path, record)
        record = examine(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ValueError as error:
        raise DownloadError(
            f"{path} was not downloaded and is not the file that belongs there. Remove it, or put "
            f"the right one there: {error}"
        ) from error
    with contextlib.suppress(OSError):
        cache.write_record(path, record)
    return True


def _set_aside(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        aside = cache.set_aside(path)
        logging.warning("%s had changed since its download; it is now %s.", path, aside)


def _missing(path: Path) -> str:
    if not path.exists():
        return f"{path.name} is not on this machine"
    return (
        f"{path.name} is not what its record {path}.json says (if you trust the file, remove the "
        "record)"
    )


def _offline_message(address: str, path: Path, size: int | None) -> str:
    bytes_ = f" ({size:,} bytes)" if size else ""
    return (
        f"{_missing(path)}, and BIT_KERAS_OFFLINE=1 forbids to fetch it. Where there is a network "
        f"fetch {address}{bytes_}, and put it at {path}."
    )


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise DownloadError(
            f"{_missing(path)}, and the cache {path.parent} cannot be written ({error.strerror}). "
            "Set $BIT_KERAS_HOME to a directory that can be."
        ) from error


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    # It spares the others the transfer; that the file is right does not hang on it, for some
    # network file systems have locks that do nothing, or none.
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock)
        except (OSError, NotImplementedError) as error:
            logging.warning("No lock on %s (%s): several processes may fetch it.", path, error)
        yield

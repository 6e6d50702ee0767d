"""From the name of a published file to a verified file on this machine.

    in the cache, as it first came    used; no connection is opened
    in the cache, but changed         set aside, then as if it were not there
    not in the cache                  fetched by one of the processes that ask, checked, recorded,
                                      and moved into place in one step

`$BIT_KERAS_HOME` is the cache, `$BIT_KERAS_BASE_URL` where files come from, and with
`BIT_KERAS_OFFLINE=1` none is fetched. Imports no keras.
"""

import contextlib
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


def address_of(file: str) -> str:
    """Returns the address of a file of the release."""
    return (os.environ.get("BIT_KERAS_BASE_URL") or _BASE_URL).rstrip("/") + "/" + file


def local_checkpoint(checkpoint: Checkpoint) -> Path:
    """Returns the local path of a published weight file, fetched if need be.

    Its size (where one is published) and the headers of its arrays are verified when it comes,
    and its digest is recorded; it is held to that digest ever after.

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
        Archive(path).close()

    return local_file(checkpoint.file, check, checkpoint.sha256, checkpoint.size)


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

    def accept(partial: Path) -> None:
        check(partial)
        record = cache.make_record(partial, address)
        first = cache.read_record(path)
        expected = sha256 or (first and first.sha256)
        if expected and record.sha256 != expected:
            raise ValueError(
                f"its sha256 is {record.sha256}, and it was {expected} before. If the release has "
                f"really changed, remove {path}.json and call again."
            )
        # The record first: a file without one would be trusted as it is.
        cache.write_record(path, record)
        os.replace(partial, path)

    if _is_usable(path, address):
        return path
    if os.environ.get("BIT_KERAS_OFFLINE") == "1":
        raise DownloadError(_offline_message(address, path, size))
    _check_writable(path.parent)
    with _lock(path):
        # Another process may have fetched it meanwhile.
        if not _is_usable(path, address):
            transfer.fetch(address, path, accept)
    return path


def _is_usable(path: Path, address: str) -> bool:
    """Whether the file is there, as it first came; a changed one is set aside."""
    try:
        if cache.is_unchanged(path, address):
            return True
        aside = cache.set_aside(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DownloadError(
            f"{path} is not the file that was downloaded, and it cannot be replaced "
            f"({error.strerror}). Set $BIT_KERAS_HOME to a directory that can be written."
        ) from error
    logging.warning("%s had changed since its download; it is now %s.", path, aside)
    return False


def _offline_message(address: str, path: Path, size: int | None) -> str:
    bytes_ = f" ({size:,} bytes)" if size else ""
    return (
        f"{path.name} is not on this machine, and BIT_KERAS_OFFLINE=1 forbids to fetch it. Where "
        f"there is a network fetch {address}{bytes_}, and put it at {path}."
    )


def _check_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise DownloadError(
            f"The cache {directory} cannot be written ({error.strerror}). Set $BIT_KERAS_HOME to "
            "a directory that can be."
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

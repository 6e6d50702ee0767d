"""The files of the cache directory, each with a record of what it was when it first came.

    BiT-M-R50x1.npz           the file
    BiT-M-R50x1.npz.json      its record: address, bytes and sha256, written before the file appears

No digest of a published file is public, so the first download is trusted, and every later use of
the file is held to it.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from bit_keras.atomic_file import written_whole

_CHUNK_BYTES = 1 << 20

# Stands for a record that cannot be read: no file is what it says.
_UNREADABLE = {"address": "", "size": -1, "sha256": ""}

# What the release consists of: weights and lists of labels.
_SUFFIXES = (".npz", ".txt")


@dataclass(frozen=True)
class Record:
    """What a file was when it first came.

    Attributes:
        address: where it came from.
        size: bytes.
        sha256: hexadecimal digest.
    """

    address: str
    size: int
    sha256: str


def cache_directory() -> Path:
    """`$BIT_KERAS_HOME`, or `bit_keras` in the user's cache directory (`$XDG_CACHE_HOME`)."""
    home = os.environ.get("BIT_KERAS_HOME")
    if home:
        return Path(home).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bit_keras"


def cache_path(file: str) -> Path:
    """Returns where a file of the release lies, or will lie, in the cache.

    Args:
        file: its address below the base address.

    Raises:
        ValueError: the name leads out of the cache directory.
    """
    parts = PurePosixPath(file).parts
    if not parts or file.startswith("/") or ".." in parts or any(c in file for c in "\\:\0"):
        raise ValueError(f"{file!r} is no name of a file below the cache directory.")
    return cache_directory().joinpath(*parts)


def read_record(path: Path) -> Record | None:
    """Returns the record of a cached file, or None; one that cannot be read fits no file."""
    try:
        return Record(**json.loads(_record_path(path).read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, RecursionError):
        return Record(**_UNREADABLE)


def write_record(path: Path, record: Record) -> None:
    """Writes the record of a cached file."""
    with written_whole(_record_path(path)) as temporary:
        temporary.write_text(json.dumps(asdict(record), indent=2) + "\n")


def make_record(path: Path, address: str) -> Record:
    """Returns the record of a file as it lies there; reads it once."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return Record(address, size, digest.hexdigest())


def is_unchanged(path: Path, record: Record) -> bool:
    """Returns whether a cached file is what its record says; reads it once."""
    return make_record(path, record.address) == record


def verify() -> Iterator[tuple[Path, str]]:
    """Yields each file of the cache with "unchanged", "changed" or "no record"; reads them all."""
    for path in sorted(cache_directory().rglob("*")):
        if path.suffix not in _SUFFIXES or path.name.startswith("."):
            continue
        record = read_record(path)
        if record is None:
            yield path, "no record"
        else:
            yield path, "unchanged" if is_unchanged(path, record) else "changed"


def forget(path: Path) -> Path:
    """Sets a file aside whose content is wrong, with its record; returns where the file is."""
    _record_path(path).unlink(missing_ok=True)
    return set_aside(path)


def set_aside(path: Path) -> Path:
    """Moves a damaged file out of the way, to be looked at; returns where to."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    os.replace(path, aside)
    return aside


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")

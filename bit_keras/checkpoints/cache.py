"""The cache directory of downloaded files, with a JSON record of each file's URL, size and sha256.

    BiT-M-R50x1.npz           the file
    BiT-M-R50x1.npz.json      its record: address, size, sha256, and the marks of a change

No digest of a published file is public, so the first download is trusted, and every later use of
the file is compared with it. The file is hashed again only when its size, its times or its inode
differ from those in the record.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

from bit_keras.checkpoints.address import shown_address
from bit_keras.utils.atomic_file import atomic_write
from bit_keras.utils.regular_file import SpecialFileError, check_regular_file, read_regular_file

# The longest step, in nanoseconds, in which a file system counts modification times: FAT counts in
# steps of two seconds.
_CLOCK_STEP_NS = 2_000_000_000

# The suffixes of the files that Google published: weights (npz) and lists of labels (txt).
_SUFFIXES = (".npz", ".txt")


@dataclass(frozen=True)
class Record:
    """The URL, size, sha256 and time stamps of a file when it was downloaded.

    Attributes:
        address: the URL that the file came from, without passwords and tokens.
        size: bytes.
        sha256: hexadecimal digest.
        modified_ns: time of the last modification, in nanoseconds since 1970. None, like the two
            below, in records of older versions, and where a later change might not show.
        changed_ns: time of the last change of the inode, which also moves when somebody sets
            `modified_ns`.
        inode: number of the file in its file system.
    """

    address: str
    size: int
    sha256: str
    modified_ns: int | None = None
    changed_ns: int | None = None
    inode: int | None = None

    def fits(self, other: "Record") -> bool:
        """Returns True if this record and another one have the same size and sha256."""
        return self.size >= 0 and (self.size, self.sha256) == (other.size, other.sha256)


# The record that fits no file.
_FITS_NOTHING = Record(address="", size=-1, sha256="")


def cache_directory() -> Path:
    """Returns `$BIT_KERAS_HOME` or, without it, `bit_keras` in the user's cache directory."""
    home = os.environ.get("BIT_KERAS_HOME")
    if home:
        return Path(home).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bit_keras"


def cache_path(file: str) -> Path:
    """Returns the path of a published file in the cache, also if it is not downloaded yet.

    Args:
        file: its address relative to the base address.

    Raises:
        ValueError: the name leads out of the cache directory.
    """
    parts = PurePosixPath(file).parts
    if not parts or file.startswith("/") or ".." in parts or any(c in file for c in "\\:\0"):
        raise ValueError(
            f"{file!r} is not the name of a file inside the cache directory. Expected a relative "
            "path such as 'vtab/BiT-M-R50x1-run0-dtd.npz'."
        )
    return cache_directory().joinpath(*parts)


def read_record(path: Path) -> Record | None:
    """Returns the record of a cached file (size, sha256, time stamps), or None if it has none.

    A record that cannot be read is returned as one that fits no file.
    """
    try:
        found = Record(**json.loads(read_regular_file(_record_path(path))))
        record = replace(found, address=shown_address(found.address))
        # Earlier versions of bit_keras recorded passwords and tokens in addresses, so the record is
        # written again without them.
        if record != found:
            with contextlib.suppress(OSError):
                write_record(path, record)
        return record
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, RecursionError):
        return _FITS_NOTHING


def write_record(path: Path, record: Record) -> None:
    """Writes the size, sha256 and time stamps of a cached file to a JSON file, atomically."""
    with atomic_write(_record_path(path)) as temporary:
        temporary.write_text(json.dumps(asdict(record), indent=2) + "\n")


def make_record(path: Path, address: str) -> Record:
    """Hashes a file and returns its size, sha256 and time stamps.

    The marks of a change are left out if the file was modified too recently for a coming change
    to show in its modification time, or while it was being read.

    Raises:
        SpecialFileError: the path is a FIFO, a folder or something else that is not a file.
    """
    check_regular_file(path)
    start = time.time_ns()
    with open(path, "rb") as file:
        before = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256")
        size, after = file.tell(), os.fstat(file.fileno())
    record = Record(address, size, digest.hexdigest())
    is_settled = start - before.st_mtime_ns >= _CLOCK_STEP_NS
    if is_settled and _marks(before) == _marks(after) and after.st_size == size:
        return replace(record, **_marks(after))
    return record


def record_now(path: Path, record: Record) -> Record:
    """Returns the present size and sha256 of a file with a record.

    If something else than a file is there now, such as a FIFO, the result fits no file.
    """
    try:
        return make_record(path, record.address)
    except SpecialFileError:
        return _FITS_NOTHING


def move_into_place(partial: Path, path: Path, record: Record) -> None:
    """Moves a complete download into the cache, and stores its size, sha256 and time stamps.

    Args:
        partial: the temporary file, which no other process uses.
        path: where the file belongs.
        record: what `make_record(partial)` returned.
    """
    # The record with the sha256 is written before the file is moved into the cache, because a file
    # without a record counts as placed there by the user.
    write_record(path, record)
    os.replace(partial, path)
    # If the record with the new time stamp cannot be written, the file is hashed again at its next
    # use.
    with contextlib.suppress(OSError):
        # Of the time stamps, renaming a file changes only the inode's change time, so only that
        # time is read again.
        renamed = replace(record, changed_ns=path.stat().st_ctime_ns)
        if is_marked(path, renamed):
            write_record(path, renamed)


def set_back(partial: Path) -> None:
    """Sets a new file's modification time back, so that any later write to it changes the time."""
    past = time.time_ns() - 2 * _CLOCK_STEP_NS
    os.utime(partial, ns=(past, past))


def is_marked(path: Path, record: Record) -> bool:
    """Returns True if a file has the size, the time stamps and the inode that its record names.

    Raises:
        FileNotFoundError: there is no such file.
    """
    status = path.stat()
    marks = {"size": status.st_size, **_marks(status)}
    return all(getattr(record, name) == mark for name, mark in marks.items())


def verify() -> Iterator[tuple[Path, str]]:
    """Hashes each file of the cache; yields its path and "unchanged", "changed" or "no record"."""
    for path in sorted(cache_directory().rglob("*")):
        if path.suffix not in _SUFFIXES or path.name.startswith("."):
            continue
        record = read_record(path)
        if record is None:
            yield path, "no record"
        else:
            fits = record_now(path, record).fits(record)
            yield path, "unchanged" if fits else "changed"


def forget(path: Path) -> Path:
    """Renames a cached file with wrong content and removes its record; returns the new path."""
    _record_path(path).unlink(missing_ok=True)
    return set_aside(path)


def set_aside(path: Path) -> Path:
    """Renames a damaged file, so that the user can look at it later; returns the new path."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    os.replace(path, aside)
    return aside


def _marks(status: os.stat_result) -> dict[str, int]:
    """Returns the times and the inode of a file, by which a later change of the file is found."""
    return {
        "modified_ns": status.st_mtime_ns,
        "changed_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")

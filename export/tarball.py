"""Compressed archives: the same files give the same bytes, and none leads out of its directory."""

import gzip
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from export.error import PublishError

# Random float32 numbers shrink to 93 % at every level.
_COMPRESSION = 1

_CHUNK_BYTES = 1 << 20


def pack(directory: Path, archive: Path) -> None:
    """Writes a directory's files as a tar.gz with the files at its root, as TF-Hub's are.

    Names are in order; times, owners and permissions are the same on every machine.
    """
    with (
        open(archive, "wb") as file,
        gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(directory.rglob("*")):
            entry = tarfile.TarInfo(path.relative_to(directory).as_posix())
            if path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            else:
                entry.mode, entry.size = 0o644, path.stat().st_size
                with open(path, "rb") as content:
                    tar.addfile(entry, content)


def unpack(archive: Path, directory: Path) -> None:
    """Extracts a tar.gz into a directory, after all of its entries were looked at.

    Raises:
        PublishError: an entry is no plain file or directory, its name is absolute, leads upwards
            or is there twice; or the archive is damaged. Nothing was extracted.
    """
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            names = set()
            for entry in tar:
                _check_entry(archive, entry, names)
                names.add(PurePosixPath(entry.name))
            while stream.read(_CHUNK_BYTES):  # the checksum is behind the last entry
                pass
            tar.extractall(directory, filter="data")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise PublishError(f"{archive} cannot be unpacked: {error}.") from error


def _check_entry(archive: Path, entry: tarfile.TarInfo, names: set[PurePosixPath]) -> None:
    name = PurePosixPath(entry.name)
    problem = None
    if not (entry.isfile() or entry.isdir()):
        problem = "is a link, a device or a pipe"
    elif name.is_absolute() or ".." in name.parts or "\\" in entry.name or ":" in entry.name:
        problem = "leads out of the directory"
    elif name in names:
        problem = "is there twice"
    if problem:
        raise PublishError(
            f"{archive}: its entry {entry.name!r} {problem}. Expected plain files and directories "
            "below the archive's root."
        )

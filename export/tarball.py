"""Packs and unpacks tar.gz files; equal directories give equal bytes on every machine."""

import gzip
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from export.error import PublishError

# The fastest compression level is used, because random float32 numbers shrink to 93 % of their size
# at every level.
_COMPRESSION = 1

_CHUNK_BYTES = 1 << 20


def pack(directory: Path, archive: Path) -> None:
    """Writes the files of a directory to the root of a tar.gz file, as in TF-Hub's archives.

    The entries are sorted by name; times, owners and permissions are the same on every machine.
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
    """Checks all entries of a tar.gz file, and then extracts the file into a directory.

    Raises:
        PublishError: an entry is not a plain file or directory, or its name is absolute, leads
            upwards or is repeated; or the archive is damaged. Then nothing is extracted.
    """
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            names = set()
            for entry in tar:
                _check_entry(archive, entry, names)
                names.add(PurePosixPath(entry.name))
            # The stream is read to its end, because gzip checks the checksum only there.
            while stream.read(_CHUNK_BYTES):
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
        problem = "is repeated"
    if problem:
        raise PublishError(
            f"{archive}: the entry {entry.name!r} {problem}. Expected plain files and directories "
            "below the root of the archive."
        )

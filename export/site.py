"""The directory layout of a site of published modules, and functions that read its files.

modules/HANDLE      the directory of a SavedModel; the handle ends in the version
http/HANDLE         the SavedModel as a tar.gz file, which a static file server serves
docs/HANDLE.md      the page of the module
docs/HANDLE.json    the record of the module: its source, digests and description
index.json, index.html
.publisher/         the lock, and modules that are being written
"""

import hashlib
import json
import os
from pathlib import Path

from export.error import PublishError


def module_directory(site: Path, handle: str) -> Path:
    """Returns the directory of a module's SavedModel."""
    return site / "modules" / handle


def archive_path(site: Path, handle: str) -> Path:
    """Returns the path of a module's tar.gz file."""
    return site / "http" / handle


def record_path(site: Path, handle: str) -> Path:
    """Returns the path of the JSON file that describes a published module."""
    return site / "docs" / f"{handle}.json"


def read_record(path: Path) -> dict:
    """Returns the content of the JSON file that describes a published module.

    Raises:
        PublishError: the record is damaged.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
        if record["handle"] and record["files"] and record["archive"]["sha256"]:
            return record
        problem = "an entry is empty"
    except (ValueError, TypeError, KeyError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise PublishError(
        f"{path} is not the record of a module ({problem}). Move it away together with the "
        "module's other files, and publish the module again."
    )


def read_records(site: Path) -> list[dict]:
    """Returns the JSON descriptions of all published modules, sorted by handle."""
    # Directories are left out, because the name of a module may end in .json, such as
    # my/flowers.json/1.
    paths = [path for path in (site / "docs").rglob("*.json") if path.is_file()]
    records = [read_record(path) for path in paths]
    return sorted(records, key=lambda record: record["handle"])


def published_record(site: Path, handle: str) -> dict | None:
    """Returns the JSON description of a module, or None if the module is not published.

    Raises:
        PublishError: another file is in the module's place, or a link leads out of the site.
    """
    places = [function(site, handle) for function in (module_directory, archive_path, record_path)]
    root = site.resolve()
    for place in places:
        if place.is_symlink() or root not in place.parent.resolve().parents:
            raise PublishError(f"{place} is or contains a link out of {site}. Remove the link.")
    if places[-1].exists():
        return read_record(places[-1])
    for place in places:
        if os.path.lexists(place):
            raise PublishError(
                f"{place} exists, but {handle} was not published here, because there is no "
                f"{places[-1]}. Move it away, or choose another handle."
            )
    return None


def is_intact(site: Path, record: dict) -> bool:
    """Returns True if all files of a module have the sha256 digests in the module's record."""
    archive = archive_path(site, record["handle"])
    return (
        archive.is_file()
        and sha256(archive) == record["archive"]["sha256"]
        and digests(module_directory(site, record["handle"])) == record["files"]
    )


def digests(directory: Path) -> dict[str, str]:
    """Returns a dict from the relative path of each file below a directory to its sha256."""
    files = sorted(path for path in directory.rglob("*") if not path.is_dir())
    return {path.relative_to(directory).as_posix(): sha256(path) for path in files}


def sha256(path: Path) -> str:
    """Returns the sha256 of a file in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""The layout of a site, and what is in it.

modules/HANDLE      a SavedModel, the handle's version being its directory
http/HANDLE         the same as a compressed file: what a static file server has to serve
docs/HANDLE.md      its page
docs/HANDLE.json    its record: source, digests, how it is used
index.json, index.html
.publisher/         what is under way
"""

import hashlib
import json
import os
from pathlib import Path

from export.error import PublishError


def module_directory(site: Path, handle: str) -> Path:
    """Returns where a module's SavedModel is."""
    return site / "modules" / handle


def archive_path(site: Path, handle: str) -> Path:
    """Returns where a module's compressed file is."""
    return site / "http" / handle


def record_path(site: Path, handle: str) -> Path:
    """Returns where a module's record is."""
    return site / "docs" / f"{handle}.json"


def read_record(path: Path) -> dict:
    """Returns a record.

    Raises:
        PublishError: it is damaged.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
        if record["handle"] and record["files"] and record["archive"]["sha256"]:
            return record
        problem = "it says nothing of a module"
    except (ValueError, TypeError, KeyError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise PublishError(
        f"{path} is no record of a module ({problem}). Move it away with what it describes, and "
        "publish the module again."
    )


def read_records(site: Path) -> list[dict]:
    """Returns the records of all published modules, in the order of their handles."""
    # A part of a handle may end in .json too: my/flowers.json/1.
    paths = [path for path in (site / "docs").rglob("*.json") if path.is_file()]
    records = [read_record(path) for path in paths]
    return sorted(records, key=lambda record: record["handle"])


def published_record(site: Path, handle: str) -> dict | None:
    """Returns the record of a module, or None where nothing is published.

    Raises:
        PublishError: something is in its place that was not published, or leads elsewhere.
    """
    places = [function(site, handle) for function in (module_directory, archive_path, record_path)]
    root = site.resolve()
    for place in places:
        if place.is_symlink() or root not in place.parent.resolve().parents:
            raise PublishError(f"{place} leads out of {site} by a link. Remove the link.")
    if places[-1].exists():
        return read_record(places[-1])
    for place in places:
        if os.path.lexists(place):
            raise PublishError(
                f"{place} is there, but {handle} was not published here: there is no "
                f"{places[-1]}. Move it away, or choose another handle."
            )
    return None


def is_intact(site: Path, record: dict) -> bool:
    """Returns whether a module's files are what its record says; reads them once."""
    archive = archive_path(site, record["handle"])
    return (
        archive.is_file()
        and sha256(archive) == record["archive"]["sha256"]
        and digests(module_directory(site, record["handle"])) == record["files"]
    )


def digests(directory: Path) -> dict[str, str]:
    """Returns the sha256 of each file below a directory."""
    files = sorted(path for path in directory.rglob("*") if not path.is_dir())
    return {path.relative_to(directory).as_posix(): sha256(path) for path in files}


def sha256(path: Path) -> str:
    """Returns the hexadecimal digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

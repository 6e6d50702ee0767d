"""Handles: the name and version of a module, such as "bit/m-r50x1/1"."""

import re

from export.error import PublishError

# A part begins with a letter and the version is a number, so that no module's name goes on below
# the archive, which is a file, or the page of another: bit/m-r50x1/1 and bit/m-r50x1/1.md/...
_PART = re.compile(r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")

_LONGEST_PART = 100  # file systems end at 255 bytes, and suffixes are added


def check_handle(handle: str) -> str:
    """Returns the handle, if it is one.

    Args:
        handle: `NAME/VERSION`, where the name has one part or more: small letters and digits,
            single `-`, `_` or `.` between them, a letter first.

    Raises:
        PublishError: it is none. So it can lead to no place outside of a site's directories.
    """
    *name, version = handle.split("/")
    is_name = all(_PART.fullmatch(part) and len(part) <= _LONGEST_PART for part in name)
    if not name or not is_name or not _VERSION.fullmatch(version):
        raise PublishError(
            f"{handle!r} is no handle. Expected a name and a version, such as my/flowers/1: parts "
            "of small letters and digits that begin with a letter (single '-', '_' or '.' may be "
            "between), then a number from 1."
        )
    return handle


def next_version(handle: str) -> str:
    """Returns the handle of the version after this one."""
    name, _, version = handle.rpartition("/")
    return f"{name}/{int(version) + 1}"

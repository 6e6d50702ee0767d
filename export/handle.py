"""Handles: the name and version of a module, such as "bit/m-r50x1/1"."""

import re

from export.error import PublishError

# A part of a name begins with a letter, and a version is a number. Therefore the directory of a
# module is never below a file of another module, such as bit/m-r50x1/1.md.
_PART = re.compile(r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")

# A part of a handle becomes a file name, which has at most 255 bytes with all suffixes.
_LONGEST_PART = 100


def check_handle(handle: str) -> str:
    """Returns a handle unchanged if it is valid; a valid handle is safe to use as a path.

    Args:
        handle: `NAME/VERSION`. The name has one or more parts of lower-case letters and digits;
            each part begins with a letter, and may have single `-`, `_` or `.` between them.

    Raises:
        PublishError: the handle is not valid.
    """
    *name, version = handle.split("/")
    is_name = all(_PART.fullmatch(part) and len(part) <= _LONGEST_PART for part in name)
    if not name or not is_name or not _VERSION.fullmatch(version):
        raise PublishError(
            f"{handle!r} is not a handle. Expected a name and a version, such as my/flowers/1. "
            "Parts of the name have lower-case letters and digits, begin with a letter, and may "
            "have single '-', '_' or '.' inside; the version is a number from 1."
        )
    return handle


def next_version(handle: str) -> str:
    """Returns the handle of the next version, such as "my/flowers/2" for "my/flowers/1"."""
    name, _, version = handle.rpartition("/")
    return f"{name}/{int(version) + 1}"

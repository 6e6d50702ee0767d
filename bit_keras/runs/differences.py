"""Says in words how an entry of the configurations of two runs differs."""

from collections.abc import Sequence
from typing import Any

# The entry of a configuration that is a digest of class names, and the start of a digest of files.
_DIGEST_OF_NAMES, _DIGEST = "class_names_sha256", "files sha256: "


def difference(
    key: str, there: Any, here: Any, names_there: Sequence[str], names_here: Sequence[str]
) -> str:
    """Returns in words how an entry of two configurations differs; digests are not shown.

    Args:
        key: the name of the entry.
        there, here: the values of the two runs.
        names_there, names_here: the names of the runs' classes; empty if they are not known.

    >>> difference("seed", 0, 5, (), ())
    'seed is 0 there and 5 here'
    """
    if key == _DIGEST_OF_NAMES and there and here:
        return f"the names of the classes are not the same{_names(names_there, names_here)}"
    if all(isinstance(value, str) and value.startswith(_DIGEST) for value in (there, here)):
        return f"the files of the task ({key}) are not the same"
    return f"{key} is {_shown(there)} there and {_shown(here)} here"


def _names(there: Sequence[str], here: Sequence[str]) -> str:
    theirs, ours = set(there), set(here)
    if not theirs or not ours or theirs == ours:
        return ""
    only_there, only_here = (
        ", ".join(map(repr, sorted(names))) or "none" for names in (theirs - ours, ours - theirs)
    )
    return f": only there {only_there}, and only here {only_here}"


def _shown(value: object) -> str:
    return "not given" if value is None else repr(value)

"""Suggests a known name for a mistyped one."""

import difflib
from collections.abc import Iterable


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Returns the known name that is most similar to `name`; upper and lower case are equal.

    Example:

    >>> nearest_name("BiT-M-R50", ["BiT-S-R50x1", "BiT-M-R50x1", "BiT-M-R50x3"])
    'BiT-M-R50x1'
    """

    def likeness(other: str) -> float:
        return difflib.SequenceMatcher(None, str(name).casefold(), other.casefold()).ratio()

    return max(known, key=likeness)

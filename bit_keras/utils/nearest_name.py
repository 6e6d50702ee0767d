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


def unknown_name(what: str, name: object, known: Iterable[str]) -> ValueError:
    """Returns the error for a name that is not one of the known names.

    Args:
        what: what the name is of, such as "model".
        name: the name that was given.
        known: the names that are accepted.

    Example:

    >>> unknown_name("device", "A10", ["V100", "A100"])
    ValueError("Unknown device 'A10'; the nearest name is 'A100'. Expected one of V100, A100.")
    """
    known = list(known)
    return ValueError(
        f"Unknown {what} {name!r}; the nearest name is {nearest_name(name, known)!r}. Expected one "
        f"of {', '.join(known)}."
    )

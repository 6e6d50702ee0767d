"""The known name that somebody who wrote an unknown one may have meant."""

import difflib
from collections.abc import Iterable


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Returns the known name most similar to `name`; in upper or lower case; of equally
    similar ones the first.

    Example:

    >>> nearest_name("BiT-M-R50", ["BiT-S-R50x1", "BiT-M-R50x1", "BiT-M-R50x3"])
    'BiT-M-R50x1'
    """

    def likeness(other: str) -> float:
        return difflib.SequenceMatcher(None, str(name).casefold(), other.casefold()).ratio()

    return max(known, key=likeness)

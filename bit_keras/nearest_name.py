"""The known name that somebody who wrote an unknown one may have meant."""

import difflib
from collections.abc import Iterable


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Returns the known name most similar to `name`; of equally similar ones the first.

    Example:

    >>> nearest_name("BiT-M-R50", ["BiT-S-R50x1", "BiT-M-R50x1", "BiT-M-R50x3"])
    'BiT-M-R50x1'
    """
    return max(known, key=lambda other: difflib.SequenceMatcher(None, str(name), other).ratio())

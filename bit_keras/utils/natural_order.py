"""The order in which people sort names that contain numbers."""

import re


def natural_key(text: str) -> tuple:
    """Returns a sort key that orders texts by the numbers in them, so that "2" is before "10".

    >>> sorted(["10 shots", "2 shots", "1 shot"], key=natural_key)
    ['1 shot', '2 shots', '10 shots']
    """
    parts = re.split(r"([0-9]+)", text)
    # In the parts of a text, words and numbers alternate, so that a number is only ever compared
    # with a number. Numbers are compared by their count of digits first, because int() refuses very
    # long ones.
    numbers = ((len(part.lstrip("0")), part.lstrip("0")) for part in parts[1::2])
    return tuple(zip(parts[::2], (*numbers, (0, "")), strict=True)), text

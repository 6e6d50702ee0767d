"""Checks integer arguments: integers of Python and numpy are accepted, and bools are refused."""

from collections.abc import Iterable
from numbers import Integral


def is_integer(value: object) -> bool:
    """Returns True for an integer of Python or numpy, and False for a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_positive_integer(value: object) -> bool:
    """Returns True for an integer of at least 1, and False for a bool."""
    return is_integer(value) and value > 0


def check_integer(name: str, value: object, least: int = 1, bits: int | None = None) -> int:
    """Checks that an argument is an integer in a range; returns it as a Python int.

    Args:
        name: name of the argument, for the error message.
        value: the argument.
        least: the smallest value that is accepted.
        bits: the value must be below `2**bits`; None sets no limit.

    Raises:
        ValueError: the value is a bool, not an integer, or out of range.

    >>> check_integer("steps", 500)
    500
    >>> check_integer("steps", True)
    Traceback (most recent call last):
    ValueError: steps must be an integer of at least 1, got True.
    """
    if not is_integer(value) or value < least or (bits is not None and value >= 2**bits):
        limit = "" if bits is None else f" and below 2**{bits}"
        raise ValueError(f"{name} must be an integer of at least {least}{limit}, got {value!r}.")
    return int(value)


def distinct_integers(name: str, values: Iterable[int], least: int) -> tuple[int, ...]:
    """Checks a list of distinct integers, such as seeds; returns them sorted.

    Args:
        name: name of the argument, for the error message.
        values: one or more distinct integers, each below 2**32, as a seed must be.
        least: the smallest value that is accepted.

    Raises:
        ValueError: a value is a bool, not an integer or out of range, or two are equal.

    >>> distinct_integers("seeds", [2, 0, 1], least=0)
    (0, 1, 2)
    """
    values = tuple(values)
    fitting = [is_integer(value) and least <= value < 2**32 for value in values]
    if not values or not all(fitting) or len(set(values)) < len(values):
        raise ValueError(
            f"{name}={values}; expected one or more distinct integers from {least} to "
            f"{2**32 - 1}, such as {(1, 5, 10)}."
        )
    return tuple(sorted(int(value) for value in values))

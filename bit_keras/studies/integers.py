"""The lists of integers that studies take: seeds, and examples per class."""

import numbers
from collections.abc import Iterable


def distinct_integers(name: str, values: Iterable[int], least: int) -> tuple[int, ...]:
    """Returns the values, sorted.

    Args:
        name: of the argument, for the error.
        values: at least one; no two the same.
        least: what each is at least; it is below 2**32, which a seed has to be.

    Raises:
        ValueError: they are not so.

    >>> distinct_integers("seeds", [2, 0, 1], least=0)
    (0, 1, 2)
    """
    values = tuple(values)
    fitting = [isinstance(v, numbers.Integral) and least <= v < 2**32 for v in values]
    if not values or not all(fitting) or len(set(values)) < len(values):
        raise ValueError(
            f"{name}={values}; expected one or more distinct integers from {least} to "
            f"{2**32 - 1}, such as {(1, 5, 10)}."
        )
    return tuple(sorted(int(value) for value in values))

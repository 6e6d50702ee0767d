"""The largest batch that fits a memory."""

from collections.abc import Callable


def largest_batch(peak: Callable[[int], float], limit: float) -> int:
    """Returns the largest batch whose peak is at most `limit`, by bisection; 0 if one image is not.

    Args:
        peak: number of images to bytes; it never falls, and grows without bound.
        limit: in bytes.

    Example:

    >>> largest_batch(lambda images: 10 + 3 * images, 25)
    5
    """
    if peak(1) > limit:
        return 0
    fits, fails = 1, 2
    while peak(fails) <= limit:
        fits, fails = fails, 2 * fails
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if peak(middle) <= limit:
            fits = middle
        else:
            fails = middle
    return fits

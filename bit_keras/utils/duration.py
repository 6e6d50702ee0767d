"""Writes a duration in words."""


def duration(seconds: float) -> str:
    """Returns a duration in words, in the largest unit that is contained at least twice.

    >>> duration(119), duration(120), duration(3600 * 30), duration(86_400 * 8)
    ('119 seconds', '2 minutes', '30 hours', '8 days')
    """
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"

"""The median and the spread of a result over seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """A result over several seeds, in the unit of its values.

    Attributes:
        median: as the paper reports it.
        std: sample standard deviation (n - 1); None for a single value.
        count: number of values.
    """

    median: float
    std: float | None
    count: int

    def percent(self) -> str:
        """Returns `98.30 ± 0.12 (n=3)`, in percent, of values from 0 to 1."""
        spread = "" if self.std is None else f" ± {100 * self.std:.2f}"
        return f"{100 * self.median:.2f}{spread} (n={self.count})"


def summarize(values: Sequence[float]) -> Summary:
    """Returns the summary of at least one value.

    >>> summarize([0.5, 0.7, 0.6]).percent()
    '60.00 ± 10.00 (n=3)'
    """
    return Summary(
        median=statistics.median(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        count=len(values),
    )

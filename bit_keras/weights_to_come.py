"""Networks whose weights are loaded next do not draw random ones first.

For R152x4 those are 0.9 billion numbers that nobody sees.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_to_come = ContextVar("weights_to_come", default=False)


@contextlib.contextmanager
def weights_to_come() -> Iterator[None]:
    """Kernels that are made inside start from zeros; their initializer is kept for later."""
    token = _to_come.set(True)
    try:
        yield
    finally:
        _to_come.reset(token)


def are_to_come() -> bool:
    return _to_come.get()

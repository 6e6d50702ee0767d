"""Sets a context variable for the time of a `with` block."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any


@contextlib.contextmanager
def value_set(variable: ContextVar, value: Any) -> Iterator[None]:
    """In the `with` block, a context variable has this value in the current thread.

    >>> level = ContextVar("level", default=0)
    >>> with value_set(level, 1):
    ...     print(level.get())
    1
    >>> level.get()
    0
    """
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)

"""Marks some cases of a parametrized test as slow."""

from collections.abc import Iterable

import pytest


def slow_except(quick: Iterable, cases: Iterable) -> list:
    """Returns the parameters of a test, of which only those in `quick` run in the quick suite.

    The cases in `quick` are the ones that cover most of the code; `pytest -m slow` runs the others.
    """
    quick = list(quick)
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]

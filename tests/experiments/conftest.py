"""What the tests of studies share."""

import gc

import pytest


@pytest.fixture(scope="module")
def no_collections():
    """Turns off the garbage collection after each run of a study, which takes 0.1 to 0.5 s.

    test_fresh_start.py tests what it is for.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda: 0)
        yield

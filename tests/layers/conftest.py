"""The modules of `modules.py`, saved once for the tests of each file."""

import pytest
from layers import modules


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return modules.save(modules.Features(), tmp_path_factory.mktemp("modules") / "features")


@pytest.fixture(scope="module")
def dropout(tmp_path_factory):
    return modules.save(modules.Dropout(), tmp_path_factory.mktemp("modules") / "dropout")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return modules.save(modules.Plain(), tmp_path_factory.mktemp("modules") / "plain")

"""The package's face: quick to import, complete, and its examples run."""

import doctest
import importlib
import os
import pkgutil
import subprocess
import sys

import pytest

import bit_keras


def output_of(statement, **environment):
    result = subprocess.run(
        [sys.executable, "-c", statement],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    return result.stdout


@pytest.mark.slow
def test_import_costs_little_more_than_keras():
    program = (
        "import time; start = time.process_time(); import keras; between = time.process_time(); "
        "import bit_keras; print((time.process_time() - start) / (between - start))"
    )
    assert float(output_of(program)) < 1.2


def test_import_brings_no_heavy_library():
    heavy = {"tensorflow_datasets", "tensorflow_hub", "keras_cv", "matplotlib", "sklearn", "tqdm"}
    program = (
        "import sys, keras; k = set(sys.modules); import bit_keras; print(*set(sys.modules) - k)"
    )
    assert not heavy & set(output_of(program).split())


@pytest.mark.peer
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_import_under_another_backend_brings_no_tensorflow(backend):
    modules = set(
        output_of(
            "import sys, bit_keras, keras; print(*sys.modules)", KERAS_BACKEND=backend
        ).split()
    )
    assert backend in modules
    assert not {name for name in modules if name.split(".")[0] == "tensorflow"}


def test_every_promised_name_is_there():
    for name in bit_keras.__all__:
        assert getattr(bit_keras, name) is not None, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = bit_keras.nothing


MODULES = [module.name for module in pkgutil.walk_packages(bit_keras.__path__, "bit_keras.")]


@pytest.mark.parametrize("name", [name for name in MODULES if name != "bit_keras.__main__"])
def test_examples_in_docstrings_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0

"""The package's face: quick to import, complete, and its examples run."""

import doctest
import importlib
import os
import pkgutil
import statistics
import subprocess
import sys
import time

import pytest

import bit_keras


def seconds_of(statement, **environment):
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", statement],
        check=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    return time.perf_counter() - start


def test_import_costs_little_more_than_keras():
    seconds_of("import bit_keras")  # warms the disk cache
    ratios = [seconds_of("import bit_keras") / seconds_of("import keras") for _ in range(3)]
    assert statistics.median(ratios) < 1.2


def test_import_brings_no_heavy_library():
    heavy = {
        "tensorflow_datasets",
        "tensorflow_hub",
        "keras_cv",
        "matplotlib",
        "sklearn",
        "absl.app",
    }
    code = "import sys, keras; k = set(sys.modules); import bit_keras; print(*set(sys.modules) - k)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert not heavy & set(result.stdout.split())


@pytest.mark.peer
def test_import_under_jax_brings_no_tensorflow():
    code = "import sys, bit_keras; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    modules = set(result.stdout.split())
    assert "jax" in modules
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

"""The same weights under Keras' other backends, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from peers.fabricated import write_npz
from reference import relative_error

pytestmark = pytest.mark.peer


def run(backend, program, *arguments):
    """Runs a program of this folder under a backend; returns the last line that it prints."""
    result = subprocess.run(
        [sys.executable, Path(__file__).with_name(program), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "KERAS_BACKEND": backend},
    )
    assert result.returncode == 0, result.stderr
    return (result.stdout.splitlines() or [""])[-1]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Logits and gradients as a backend finds them, from weights that all backends share."""
    folder = tmp_path_factory.mktemp("backends")
    weights = write_npz(folder / "R50x1.npz", "R50x1")

    def found(backend):
        output = folder / f"{backend}.npz"
        run(backend, "backend_program.py", weights, output)
        with np.load(output) as arrays:
            return dict(arrays)

    return found


@pytest.fixture(scope="module")
def expected(found):
    return found("tensorflow")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_logits_and_gradients_are_those_of_tensorflow(backend, found, expected):
    actual = found(backend)
    assert actual.keys() == expected.keys()
    assert relative_error(actual.pop("logits"), expected["logits"]) < 1e-4
    for name, gradient in actual.items():
        assert gradient.any(), name
        assert relative_error(gradient, expected[name]) < 1e-3, name


def test_plain_keras_fits_under_jax():
    said = json.loads(run("jax", "fit_program.py"))
    assert said["backend"] == "jax"
    (loss_before, _), (loss_after, accuracy) = said["before"], said["after"]
    assert loss_after < 0.5 * loss_before
    assert accuracy > 0.7

"""The networks that are deeper and wider than R50x1 against a forward pass in plain torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from peers.fabricated import write_npz
from reference import relative_error

pytestmark = pytest.mark.peer


def forward(implementation, architecture, weights):
    output = weights.with_name(f"{implementation}.npy")
    program = Path(__file__).with_name("forward_program.py")
    result = subprocess.run(
        [sys.executable, program, implementation, architecture, weights, output],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return np.load(output)


LARGE = ("R50x3", "R152x2", "R101x3", "R152x4")


@pytest.mark.parametrize(
    "architecture",
    ["R50x1", "R101x1", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)],
)
def test_logits_are_those_of_plain_torch(architecture, tmp_path):
    weights = write_npz(tmp_path / "weights.npz", architecture)
    try:
        ours = forward("bit_keras", architecture, weights)
        theirs = forward("torch", architecture, weights)
    finally:
        weights.unlink()  # up to 3.7 GB, which pytest would keep
    assert relative_error(ours, theirs) < 1e-4

"""The programs in examples/ run as they are, on fewer steps."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(program, *arguments, cwd):
    result = subprocess.run(
        [sys.executable, EXAMPLES / program, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("steps", "percent"), [(3, 0), pytest.param(300, 95, marks=pytest.mark.slow)]
)
def test_train_digits(steps, percent, tmp_path):
    said = run("train_digits.py", f"--steps={steps}", cwd=tmp_path)
    assert float(said.split("test accuracy ")[1].split("%")[0]) >= percent
    assert keras.models.load_model(tmp_path / "digits.keras").output_shape == (None, 10)

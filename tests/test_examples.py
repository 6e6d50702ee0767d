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


def test_serve_bytes(tmp_path):
    said = run("serve_bytes.py", "--steps=2", cwd=tmp_path)
    assert "a 3: no image" in said
    assert said.count("probability") == 9
    assert (tmp_path / "digits_module" / "saved_model.pb").exists()


@pytest.mark.parametrize("program", ["fine_tune_module.py", "fine_tune_module_tf_keras.py"])
@pytest.mark.parametrize(
    ("steps", "percent"), [(3, 0), pytest.param(100, 80, marks=pytest.mark.slow)]
)
def test_fine_tune_module(program, steps, percent, tmp_path):
    said = run(program, f"--steps={steps}", cwd=tmp_path)
    assert float(said.split("test accuracy ")[1].split("%")[0]) >= percent


@pytest.mark.slow
def test_load_from_server(tmp_path):
    said = run("load_from_server.py", cwd=tmp_path)
    assert "gives logits (2, 10)" in said
    assert "without the server (2, 10)" in said

"""The programs in examples/ run as they are, on fewer steps."""

import gzip
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
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


@pytest.mark.slow
def test_serve_bytes(tmp_path):
    said = run("serve_bytes.py", "--steps=2", cwd=tmp_path)
    assert "a 3: no image" in said
    assert said.count("probability") == 9
    assert (tmp_path / "digits_module" / "saved_model.pb").exists()


@pytest.mark.slow
@pytest.mark.parametrize("program", ["fine_tune_module.py", "fine_tune_module_tf_keras.py"])
@pytest.mark.parametrize(("steps", "percent"), [(3, 0), (100, 80)])
def test_fine_tune_module(program, steps, percent, tmp_path):
    said = run(program, f"--steps={steps}", cwd=tmp_path)
    assert float(said.split("test accuracy ")[1].split("%")[0]) >= percent


@pytest.mark.slow
def test_load_from_server(tmp_path):
    said = run("load_from_server.py", cwd=tmp_path)
    assert "gives logits (2, 10)" in said
    assert "without the server (2, 10)" in said


def fashion_images(folder, rng):
    """Writes noise in the four files of Fashion-MNIST, six images a class."""
    folder.mkdir()
    for split in ("train", "t10k"):
        pixels = rng.integers(256, size=(60, 28, 28), dtype="uint8")
        labels = np.tile(np.arange(10, dtype="uint8"), 6)
        for name, header, values in (("images-idx3", 16, pixels), ("labels-idx1", 8, labels)):
            with gzip.open(folder / f"{split}-{name}-ubyte.gz", "wb") as file:
                file.write(bytes(header) + values.tobytes())


@pytest.mark.slow
def test_normalization_and_batch_size_goes_on_where_it_stopped(tmp_path):
    fashion_images(tmp_path / "fashion", np.random.default_rng(0))
    numbers = {"images": 16, "large_batch": 8, "small_batch": 4, "rate": 0.06}
    settings = {**numbers, "shots": ["1"], "steps": 1, "transfer_rate": 0.03}
    earlier = [
        {
            "network": network,
            "seed": 0,
            "pre-training": start,
            "source accuracy": None if start == "none" else 0.5,
            "target accuracy": {"1": 0.25},
        }
        for network, start in itertools.product(
            ("GN+WS", "GN", "BN+WS"), ("none", "batches of 8", "batches of 4")
        )
    ]
    output = tmp_path / "output"
    output.mkdir()
    (output / "results.json").write_text(json.dumps({"settings": settings, "runs": earlier}))
    flags = [f"--{name}={value}" for name, value in {**settings, "shots": 1}.items()]
    flags += ["--seeds=0", "--fashion_mnist=fashion", "--output=output"]
    said = run("normalization_and_batch_size.py", *flags, cwd=tmp_path)
    assert "| BN+WS | batches of 4 | 50.0 ± 0.0 | 25.0 ± 0.0 |" in said
    runs = json.loads((output / "results.json").read_text())["runs"]
    assert runs[:9] == earlier
    assert [(run["network"], run["pre-training"]) for run in runs[9:]] == [
        ("BN", "none"),
        ("BN", "batches of 8"),
        ("BN", "batches of 4"),
    ]
    assert all(0 <= run["target accuracy"]["1"] <= 1 for run in runs)
    assert (output / "table.md").read_text("utf-8") in said
    assert (output / "normalization_and_batch_size.png").stat().st_size > 10_000

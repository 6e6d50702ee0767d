"""The README: its programs run, and the tests that it names exist."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import shrink

import bit_keras

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_every_deviation_names_a_test():
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", README)
    assert len(named) == 10
    for file, function in named:
        assert f"def {function}(" in (ROOT / file).read_text(), function


def test_the_map_names_every_room():
    rooms = {path.stem if path.is_dir() else path.name for path in (ROOT / "bit_keras").iterdir()}
    rooms = {room for room in rooms if not room.startswith(("_", "."))}
    assert rooms == set(re.findall(r"^    (\w+(?:\.py)?)/? {3,}", README, re.MULTILINE))


def test_the_table_lists_every_model():
    for name in bit_keras.list_models():
        assert name in README


@pytest.fixture
def user(tmp_path, monkeypatch):
    """What a user of the README has: weights, a folder of images, and a small CIFAR-10."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIT_KERAS_HOME", str(tmp_path))
    shrink(monkeypatch)
    weights = tmp_path / "BiT-M-R50x1.npz"
    bit_keras.save_npz(bit_keras.create("BiT-M-R50x1", classes=3), weights)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (8, 32, 32, 3), "uint8"), np.arange(8)[:, None] % 10
    for i, image in enumerate(images):
        path = tmp_path / "images" / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(image).numpy())
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: ((images, labels),) * 2)
    small = bit_keras.HyperRule.for_task(8, (8, 8)).scaled(2, steps=1, resize=36, crop=32)
    monkeypatch.setattr(bit_keras.HyperRule, "for_task", lambda *_, **__: small)
    monkeypatch.setattr(
        bit_keras.HyperRule, "scaled", lambda rule, batch_size=None, base_lr=None, **_: rule
    )
    return {"/path/to/BiT-M-R50x1-ILSVRC2012.npz": weights, "/path/to/images": tmp_path / "images"}


def test_the_programs_run(user):
    programs = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    for written, real in user.items():
        programs = programs.replace(written, str(real))
    names = {}
    exec(compile(programs, "README.md", "exec"), names)
    assert names["result"].metrics["num_test_examples"] == 2
    assert names["model"].output_shape == (None, 5)
    assert keras.models.load_model("cifar10.keras").output_shape == (None, 10)

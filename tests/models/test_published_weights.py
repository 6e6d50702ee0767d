"""One real checkpoint, from the real server: `pytest -m network -s`.

Whoever runs it first learns what no source tells: the sha256 of the file, which it prints.
"""

import hashlib

import keras
import pytest
from sklearn.datasets import load_sample_image

import bit_keras
from bit_keras.checkpoints.catalog import CHECKPOINTS
from bit_keras.checkpoints.download import local_checkpoint

# What stands in the middle of scikit-learn's china.jpg, the Summer Palace: Keras' own ResNet-50
# says palace, bell cote, monastery.
BUILDINGS = {
    "n03877845": "palace",
    "n02825657": "bell cote",
    "n03781244": "monastery",
    "n04346328": "stupa",
    "n03788365": "mosque",
}


@pytest.mark.network
def test_a_published_checkpoint(tmp_path, monkeypatch):
    monkeypatch.delenv("BIT_KERAS_OFFLINE")
    monkeypatch.delenv("BIT_KERAS_BASE_URL", raising=False)
    monkeypatch.setenv("BIT_KERAS_HOME", str(tmp_path))
    entry = CHECKPOINTS["BiT-M-R50x1", "ilsvrc2012"]
    path = local_checkpoint(entry)
    content = path.read_bytes()
    print(f"\n{entry.file}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    assert len(content) == entry.size

    model = bit_keras.BiT_M_R50x1(pretrained="ilsvrc2012")
    assert model.output_shape == (None, 1000)
    bit_keras.save_npz(model, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").stat().st_size == entry.size

    image = load_sample_image("china.jpg")[:, 100:527]
    image = keras.ops.image.resize(image, (384, 384))
    (best,) = bit_keras.decode_predictions(model(bit_keras.preprocess_input(image)[None]))
    print(*best, sep="\n")
    assert best[0][0] in BUILDINGS
    assert best[0][2] > 0.1

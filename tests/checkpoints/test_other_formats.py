"""Files of other formats that are given as weights or as a model."""

import os
import pickle
import tarfile
import zipfile

import h5py
import numpy as np
import pytest

import bit_keras
from bit_keras.runs.trained_model import find_model


def make_zip(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")


def make_hdf5(path):
    h5py.File(path, "w").close()


def make_safetensors(path):
    path.write_bytes((2).to_bytes(8, "little") + b"{}" + bytes(8))


def make_directory(path, *names):
    path.mkdir()
    for name in names:
        (path / name).touch()


# The name of a file, what makes it (None for a file that does not exist), and a part of the error.
OTHERS = {
    "timm.safetensors": (make_safetensors, "safetensors.numpy.load_file"),
    "missing.safetensors": (None, "safetensors.numpy.load_file"),
    "renamed.npz": (make_safetensors, "safetensors.numpy.load_file"),
    "whole.h5": (make_hdf5, "keras.models.load_model"),
    "whole.npz": (make_hdf5, "keras.models.load_model"),
    "mine.weights.h5": (make_hdf5, "model.load_weights"),
    "mine.keras": (lambda path: make_zip(path, "config.json", "model.weights.h5"), "load_model"),
    "mine.npz": (lambda path: make_zip(path, "config.json", "model.weights.h5"), "load_model"),
    "torch.pth": (lambda path: make_zip(path, "x/data.pkl"), "torch.load"),
    "torch.npz": (lambda path: make_zip(path, "x/data.pkl"), "torch.load"),
    "legacy.pt": (lambda path: path.write_bytes(pickle.dumps({})), "torch.load"),
    "saved.tar.gz": (lambda path: tarfile.open(path, "w:gz").close(), "unpack it"),
    "saved.npz": (lambda path: tarfile.open(path, "w:gz").close(), "unpack it"),
    "array.npy": (lambda path: np.save(path, np.zeros(3)), "numpy.load"),
    "model.onnx": (lambda path: path.write_bytes(b"x"), "onnxruntime.InferenceSession"),
    "model.tflite": (lambda path: path.write_bytes(b"\0\0\0\0TFL3"), "Interpreter"),
    "pytorch_model.bin": (lambda path: path.write_bytes(b"x"), "torch.load"),
    "missing.bin": (None, "torch.load"),
    "missing.msgpack": (None, "flax.serialization"),
    "missing.ckpt": (None, "tf.train.load_checkpoint"),
    "saved_model.pb": (None, "bit_keras.HubLayer"),
    "fifo.npz": (os.mkfifo, "a FIFO"),
    "fifo.keras": (os.mkfifo, "a FIFO"),
    "ckpt-1.index": (lambda path: path.write_bytes(b"x"), "tf.train.load_checkpoint"),
    "exported": (lambda path: make_directory(path, "saved_model.pb"), "bit_keras.HubLayer"),
    "run": (
        lambda path: make_directory(path, "config.json", "model.keras"),
        "bit_keras.find_model",
    ),
    "empty": (make_directory, "is a directory"),
    "folder.npz": (make_directory, "is a directory"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_weights_of_another_format_are_named_with_what_reads_them(name, tmp_path):
    make, message = OTHERS[name]
    if make is not None:
        make(tmp_path / name)
    with pytest.raises((bit_keras.CheckpointError, FileNotFoundError), match=message) as refusal:
        bit_keras.create("R14x0.5", pretrained=str(tmp_path / name))
    assert str(tmp_path / name) in str(refusal.value)
    assert "npz weight file" in str(refusal.value)


@pytest.mark.parametrize("address", ["https://example.org/bit.npz", "gs://bit_models/x"])
def test_an_address_is_no_path_of_weights(address):
    with pytest.raises((bit_keras.CheckpointError, FileNotFoundError), match="is an address"):
        bit_keras.create("R14x0.5", pretrained=address)


@pytest.mark.parametrize(
    "name", ["whole.h5", "torch.pth", "exported", "missing.safetensors", "fifo.keras"]
)
def test_a_model_of_another_format_is_named_too(name, tmp_path):
    make, message = OTHERS[name]
    if make is not None:
        make(tmp_path / name)
    with pytest.raises((ValueError, OSError), match=rf"{name}.*: it is .*{message}"):
        find_model(tmp_path / name)

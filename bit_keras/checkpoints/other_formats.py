"""Recognizes files of other formats that are given as weights, and names what reads them."""

import os
import zipfile
from pathlib import Path

from bit_keras.utils.regular_file import kind_of

_TORCH = "is a file of PyTorch; torch.load(path, weights_only=True) reads it"
_SAFETENSORS = (
    "is a file of safetensors, as timm and transformers publish them; "
    "safetensors.numpy.load_file(path) reads it"
)
_KERAS = "is a model saved by Keras; keras.models.load_model(path) reads it"
_KERAS_WEIGHTS = (
    "holds weights saved by Keras; model.load_weights(path) reads them into the network that they "
    "were saved from"
)
_CHECKPOINT = "belongs to a checkpoint of TensorFlow; tf.train.load_checkpoint(prefix) reads it"
_TARBALL = (
    "is a compressed archive; unpack it, and if it holds a saved_model.pb, "
    "bit_keras.HubLayer(directory) reads it"
)
_LITERT = "is a model of LiteRT; ai_edge_litert.interpreter.Interpreter(path) reads it"

# Maps the end of a file's name to a description of the file and of what reads it.
_SUFFIXES = {
    ".safetensors": _SAFETENSORS,
    ".pth": _TORCH,
    ".pt": _TORCH,
    ".weights.h5": _KERAS_WEIGHTS,
    ".h5": _KERAS,
    ".hdf5": _KERAS,
    ".keras": _KERAS,
    ".index": _CHECKPOINT,
    ".data-00000-of-00001": _CHECKPOINT,
    ".tar.gz": _TARBALL,
    ".tgz": _TARBALL,
    ".zip": "is a zip archive of other files; unpack it",
    ".onnx": "is a model in ONNX; onnxruntime.InferenceSession(path) reads it",
    ".tflite": _LITERT,
    ".bin": "may be a file of PyTorch, as transformers published them; "
    "torch.load(path, weights_only=True) reads it",
    ".ckpt": "may be a checkpoint of PyTorch, which torch.load(path, weights_only=True) reads, or "
    "of TensorFlow, which tf.train.load_checkpoint(path) reads",
    ".msgpack": "is a file of Flax; flax.serialization.msgpack_restore reads its bytes",
    ".pb": "is a graph of TensorFlow; the file saved_model.pb is a part of a SavedModel, which "
    "bit_keras.HubLayer(directory) reads",
    ".pkl": "is a pickle of Python, which may run any code; its author has to save it otherwise",
    ".npy": "is a single array; numpy.load(path) reads it",
}


def description_of(path: str | os.PathLike) -> str | None:
    """Returns a description of a path or address and of what reads it; None for an npz file.

    Args:
        path: a path, which may exist or not, or an address.

    Returns:
        The rest of a sentence about the path, or None for an npz file and for what is not known.

    >>> description_of("bit.safetensors").partition(",")[0]
    'is a file of safetensors'
    """
    if "://" in str(path):
        return (
            "is an address; download the file and give its path, or give the address of a "
            "SavedModel to bit_keras.HubLayer(address)"
        )
    path = Path(path).expanduser()
    if path.is_dir():
        return _of_directory(path)
    if path.exists() and not path.is_file():
        return f"is {kind_of(path)}, which is not opened, because reading it might never end"
    by_content = _of_content(path) if path.is_file() else None
    if by_content is not None:
        return by_content
    name = path.name.lower()
    return next((text for suffix, text in _SUFFIXES.items() if name.endswith(suffix)), None)


def _of_directory(path: Path) -> str:
    if (path / "saved_model.pb").exists():
        return "is a SavedModel; bit_keras.HubLayer(path) reads it"
    if (path / "config.json").exists() and (path / "model.keras").exists():
        return "is the directory of a run; bit_keras.find_model(path).load() reads its network"
    return "is a directory and is not a file"


def _of_content(path: Path) -> str | None:
    """Returns a description of a file by its first bytes, or None if they are not known."""
    with open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _KERAS_WEIGHTS if path.name.endswith(".weights.h5") else _KERAS
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return _SAFETENSORS
    if head[4:8] == b"TFL3":
        return _LITERT
    if head.startswith(b"\x1f\x8b"):
        return _TARBALL
    if head.startswith(b"\x93NUMPY"):
        return _SUFFIXES[".npy"]
    return _of_zip_archive(path) if head.startswith(b"PK") else None


def _of_zip_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None  # The zip archive is damaged, so its format is not known.
    if "model.weights.h5" in names:
        return _KERAS
    return _TORCH if any(name.endswith("/data.pkl") for name in names) else None

"""What an exported file says of itself: how it is used, and where its weights come from."""

import hashlib

import keras
import numpy as np
import tensorflow as tf

from bit_keras._version import __version__
from bit_keras.resnet import ResNetV2
from bit_keras.saved_model.exported_module import Serving
from bit_keras.saved_model.outputs import Outputs
from bit_keras.zoo import ARCHITECTURES


def describe(model: keras.Model, outputs: Outputs, serving: Serving) -> dict:
    """Returns the description of an export, as JSON will hold it.

    Nothing in it depends on when and where it is made: the same model gives the same bytes.
    """
    return {
        "model": model.name,
        "architecture": architecture_of(model),
        "weights_sha256": _weights_sha256(model),
        "input_shape": list(model.input_shape[1:]),
        "input_range": list(serving.input_range),
        "output": outputs.name,
        "classes": outputs.classes,
        "serving_bytes_size": list(serving.image_size) if outputs.names_classes else None,
        "frozen": serving.frozen,
        "versions": {
            "bit_keras": __version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        },
    }


def architecture_of(model: keras.Model) -> str | None:
    """Returns the zoo's name of a network's depths and width, such as "R50x1", or None."""
    if not isinstance(model, ResNetV2):
        return None
    shape = (model.depths, model.width)
    return next((name for name, a in ARCHITECTURES.items() if (a.depths, a.width) == shape), None)


def _weights_sha256(model: keras.Model) -> str:
    """The digest of all weights, each as its path, dtype, shape and bytes, in the paths' order."""
    digest = hashlib.sha256()
    for weight in sorted(model.weights, key=lambda weight: weight.path):
        digest.update(f"{weight.path} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(np.ascontiguousarray(weight.numpy()).view("uint8").data)
    return digest.hexdigest()

"""Loads official weight files into networks, and saves networks as such files.

A file is an npz archive with one float32 array for each weight; kernels are in HWIO order:

    resnet/root_block/standardized_conv2d/kernel
    resnet/block1/unit01/a/group_norm/gamma                   and beta; units 01 ..; a, b, c
    resnet/block1/unit01/a/standardized_conv2d/kernel
    resnet/block1/unit01/a/proj/standardized_conv2d/kernel    first units only
    resnet/group_norm/gamma                                   and beta
    resnet/head/conv2d/kernel                                 (1, 1, features, classes), and bias

The name of a layer of `ResNetV2` is its key with _ for /. Some published files add a number to the
layer's name (`standardized_conv2d_7/kernel`), which has no meaning and is ignored.
"""

import os
import re
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from bit_keras.checkpoints.archive import Archive, write_archive
from bit_keras.checkpoints.errors import CheckpointError
from bit_keras.checkpoints.zero_copy import as_tensor, is_shareable

_LAYER = re.compile(
    r"(root_block)_(standardized_conv2d)"
    r"|(block\d)_(unit\d\d+)_([abc])_(?:(proj)_)?(standardized_conv2d|group_norm)"
    r"|(group_norm)"
    r"|(head)_(conv2d)"
)
# Matches the names of layers that only ResNetV2(normalization="batch") or
# ResNetV2(standardize=False) has.
_OTHER_NETWORK = re.compile(r"(root_block|block\d_unit\d\d+_[abc](_proj)?)_(conv2d|batch_norm)")
# Maps the last part of a layer's name to the names of the arrays that a weight file holds for such
# a layer.
_ARRAYS = {
    "standardized_conv2d": {"kernel"},
    "group_norm": {"gamma", "beta"},
    "conv2d": {"kernel", "bias"},
}
_NUMBER = re.compile(r"(standardized_conv2d|group_norm|conv2d)_\d+/")
_HEAD = "resnet/head/"
_ROOT_KERNEL = "resnet/root_block/standardized_conv2d/kernel"


@dataclass(frozen=True)
class Contents:
    """The architecture and head of a weight file, as read from its keys and shapes."""

    depths: tuple[int, ...]
    root_filters: int
    # The number of classes is None if the file has no head.
    classes: int | None

    def __str__(self) -> str:
        head = "no head" if self.classes is None else f"a head of {self.classes} classes"
        return f"depths {self.depths}, {self.root_filters} root filters, {head}"


def read_contents(path: str | os.PathLike) -> Contents:
    """Reads the architecture and the head of a weight file from the headers of its arrays alone.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is not a BiT weight file.
    """
    with Archive(path) as archive:
        shapes = {key: archive.members[name].shape for key, name in _names(archive).items()}
    return _contents(shapes, path)


def load_npz(model: keras.Model, path: str | os.PathLike, head: str = "match") -> None:
    """Loads an official weight file into a network.

    Everything is checked before anything is assigned, so that a refused file leaves the model
    unchanged.

    Args:
        model: a `ResNetV2`, or a functional model that contains its layers; other layers are not
            changed.
        path: path of the npz file.
        head: "match" (the file's head must fit; a model without a head takes any file) or
            "reset" (the model's own head stays unchanged).

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: a key is missing, unknown or repeated; a shape or dtype differs; a value
            is not finite; the archive is damaged. The message names the key.
        ValueError: `head` has another value, or the model is not a BiT network, for example
            because it has batch normalization, or it has quantized weights.
    """
    if head not in ("match", "reset"):
        raise ValueError(f"head={head!r}: expected 'match' or 'reset'.")
    variables = _variables(model)
    shapes = {key: _file_shape(key, variable.shape) for key, variable in variables.items()}
    takes_head = head == "match" and any(key.startswith(_HEAD) for key in variables)
    if not takes_head:
        shapes = {key: shape for key, shape in shapes.items() if not key.startswith(_HEAD)}
    with Archive(path) as archive:
        names = _names(archive)
        if not takes_head:
            names = {key: name for key, name in names.items() if not key.startswith(_HEAD)}
        _check_headers(archive, names, shapes)
        arrays = {key: _read_finite(archive, names[key]) for key in shapes}
    for key in shapes:
        # Each array is freed after it was assigned, so that the weights are not in memory twice.
        variables[key].assign(_value(arrays.pop(key).reshape(variables[key].shape)))


def save_npz(model: keras.Model, path: str | os.PathLike) -> None:
    """Saves the weights of a network in the format of the official release, byte for byte.

    Args:
        model: a `ResNetV2`, or a functional model that contains its layers; other layers are not
            saved.
        path: path of the npz file; an existing file is replaced in one step.

    Raises:
        OSError: the file cannot be written; an existing file is unchanged.
        ValueError: the model is not a BiT network, for example because it has batch
            normalization, or it has quantized weights.
    """
    variables = _variables(model)
    write_archive(path, ((key, _file_array(key, variables[key])) for key in sorted(variables)))


def _variables(model) -> dict[str, keras.Variable]:
    """Maps each key of a weight file to the network's variable that is stored under this key."""
    variables = {}
    for layer in model.layers:
        if _OTHER_NETWORK.fullmatch(layer.name):
            raise ValueError(
                f"Layer {layer.name!r} of model {model.name!r} cannot be stored in the official "
                "format. Expected a ResNetV2 with normalization='group' and standardize=True. Use "
                "model.save_weights and model.load_weights for this model."
            )
        match = _LAYER.fullmatch(layer.name)
        if match and getattr(layer, "lora_enabled", False):
            raise ValueError(
                f"Layer {layer.name!r} has LoRA weights, which the official format cannot store. "
                "Save the model with model.save_weights, which merges them, and load that file "
                "into a model without LoRA."
            )
        if match and layer.weights:
            parts = ["resnet", *filter(None, match.groups())]
            for variable in layer.weights:
                _check_storable(layer, variable, _ARRAYS[parts[-1]])
                variables["/".join((*parts, variable.name))] = variable
    if _ROOT_KERNEL not in variables:
        raise ValueError(
            f"Model {model.name!r} has no layer 'root_block_standardized_conv2d'; expected a "
            "bit_keras.ResNetV2. If a ResNetV2 is a layer of your model, pass that layer."
        )
    return variables


def _check_storable(layer: keras.layers.Layer, variable: keras.Variable, names: set) -> None:
    """Raises a ValueError for a weight that official files cannot hold, such as an integer."""
    is_float = keras.backend.is_float_dtype(variable.dtype)
    if not is_float or (variable.name not in names and layer.quantization_mode):
        raise ValueError(
            f"Layer {layer.name!r} is quantized ({layer.quantization_mode}): its {variable.name!r} "
            f"is {variable.dtype}, and the official format holds only float weights. Save or load "
            "the npz file before model.quantize, and the quantized model by model.save."
        )
    if variable.name not in names:
        raise ValueError(
            f"Layer {layer.name!r} has the weight {variable.name!r}, which the official format "
            f"cannot store; it holds {', '.join(sorted(names))}. Use model.save_weights and "
            "model.load_weights for this model."
        )


def _file_shape(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    # The head is a 1x1 convolution in official files and a dense layer in ResNetV2, so its kernel
    # has two more axes in a file.
    return (1, 1, *shape) if key == f"{_HEAD}conv2d/kernel" else tuple(shape)


def _file_array(key: str, variable: keras.Variable) -> np.ndarray:
    array = keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32"))
    return array.reshape(_file_shape(key, array.shape))


def _names(archive: Archive) -> dict[str, str]:
    """Maps each array's name without its counter, `conv2d` for `conv2d_3`, to its full name."""
    names = {}
    for name in archive.members:
        key = _NUMBER.sub(r"\1/", name)
        if key in names:
            raise CheckpointError(
                f"{archive.path}: {names[key]!r} and {name!r} are the same weight, {key!r}; "
                "expected each weight once."
            )
        names[key] = name
    return names


def _contents(shapes: dict[str, tuple[int, ...]], path) -> Contents:
    units = {tuple(key.split("/")[1:3]) for key in shapes if re.match(r"resnet/block\d/unit", key)}
    depths = [sum(block == f"block{i}" for block, _ in units) for i in (1, 2, 3, 4)]
    root, head = shapes.get(_ROOT_KERNEL, ()), shapes.get(f"{_HEAD}conv2d/kernel")
    if not all(depths) or len(root) != 4 or (head is not None and len(head) != 4):
        raise CheckpointError(
            f"{path} is not a BiT weight file: expected keys like {_ROOT_KERNEL!r}, found "
            f"{', '.join(map(repr, sorted(shapes)[:3])) or 'none'}. "
            "Convert other formats to the official npz schema first."
        )
    return Contents(tuple(depths), root[-1], None if head is None else head[-1])


def _check_headers(archive: Archive, names: dict[str, str], shapes: dict[str, tuple]) -> None:
    """Raises a CheckpointError if a file's keys, shapes or dtypes differ from the model's."""
    missing, extra = sorted(shapes.keys() - names.keys()), sorted(names.keys() - shapes.keys())
    if missing or extra:
        in_file = {key: archive.members[name].shape for key, name in _names(archive).items()}
        raise CheckpointError(
            f"{archive.path} does not fit the model. {_listed('Missing', missing)}"
            f"{_listed('Not in the model', extra)}The file has {_contents(in_file, archive.path)}."
        )
    for key, shape in shapes.items():
        member = archive.members[names[key]]
        if member.shape != shape or member.dtype != np.dtype("<f4"):
            hint = (
                " Pass head='reset' to keep the model's own head." if key.startswith(_HEAD) else ""
            )
            raise CheckpointError(
                f"{archive.path}: {member.name!r} is {member.dtype} of shape {member.shape}; the "
                f"model needs float32 of shape {shape}.{hint}"
            )


def _listed(title: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{title}: {', '.join(map(repr, keys[:3]))}{more}. "


def _value(array: np.ndarray) -> Any:
    """Returns an array as it is, or with TensorFlow as a tensor that shares the array's memory."""
    shares = keras.backend.backend() == "tensorflow" and is_shareable(array)
    return as_tensor(array) if shares else array


def _read_finite(archive: Archive, name: str) -> np.ndarray:
    array = archive.read(name)
    # The minimum and the maximum are NaN if the array holds a NaN. Unlike isfinite(array), they
    # need no extra memory.
    if array.size and not np.isfinite([array.min(), array.max()]).all():
        raise CheckpointError(
            f"{archive.path}: {name!r} holds NaN or infinity; expected finite weights. "
            "The training that wrote the file diverged, or the file is damaged."
        )
    return array

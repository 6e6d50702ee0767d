"""Exports a model as a TF2 SavedModel that other programs can fine-tune and serve."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Sequence
from numbers import Real
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from bit_keras._version import __version__
from bit_keras.data.decoding import READ_IN_GRAPH, colour_of
from bit_keras.exporters.agreement import FLOAT32_BOUND, Agreement, check_export
from bit_keras.exporters.normalization_in_rows import with_normalization_in_rows
from bit_keras.exporters.outputs import Outputs, outputs_of
from bit_keras.exporters.saved_model_directory import atomic_directory
from bit_keras.exporters.saved_model_module import ExportedModule, Serving, frozen_copy
from bit_keras.hyperrule import HyperRule
from bit_keras.models.resnet import ResNetV2
from bit_keras.models.task_record import checked_names, class_names_of, record_of
from bit_keras.models.variants import ARCHITECTURES
from bit_keras.utils.integers import check_integer
from bit_keras.utils.keras_internals import all_layers
from bit_keras.utils.printable import printable

# The names of the files that the export adds to the folder assets/ of the SavedModel.
_DESCRIPTION, _CLASS_NAMES = "bit_keras.json", "class_names.txt"

# The allowed difference between the outputs of a frozen export and its model. It is larger than for
# other exports, because the kernels are standardized at export, which rounds differently.
FROZEN_BOUND = 1e-4

# Batch size, height and width of the images on which a written SavedModel is compared with its
# model. They are small, so that an export of a large network does not take long.
_TEST_SHAPES = ((2, 64, 64), (2, 45, 70))


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    input_range: tuple[float, float] = (0, 1),
    freeze: bool = False,
    overwrite: bool = False,
    class_names: Sequence[str] | None = None,
    image_size: int | None = None,
    model_range: tuple[float, float] | None = None,
    background: str | None = None,
    quantizable: bool = False,
) -> Agreement:
    """Writes a model as a reusable TF2 SavedModel, which needs neither bit_keras nor Keras.

    The SavedModel's root is callable as `module(images, training=False)` and returns the model's
    output in float32. The root has `variables`, `trainable_variables` and `regularization_losses`
    (functions without arguments), which `hub.KerasLayer` and `bit_keras.HubLayer` need. Its
    `describe()` returns the JSON text of `assets/bit_keras.json`: input range, classes, sha256 of
    the weights, versions. `assets/class_names.txt` has one class name a line.
    Images are float32 RGB, `[batch, height, width, 3]`, in `input_range`, at any height and width
    that the model takes. Signatures refuse a batch of no images. They are

        serving_default    takes images; returns the model's output, named "logits",
                           "probabilities", "features" or "feature_map"
        features           takes images; returns "features" [batch, channels], which are the input
                           of the classifier's head, or a feature map averaged over positions
        serving_bytes      takes "images", [batch] strings of encoded images; returns "classes"
                           int64, "probabilities" float32 and "names" strings, all [batch, 5], or
                           fewer if there are fewer classes. A string that is not a complete image,
                           or is in a format that TensorFlow does not read, gets class -1,
                           probability 0 and an empty name; the description lists the formats. An
                           image of more than 89 478 485 pixels is an error. Only classifiers of two
                           classes or more have this signature

    The SavedModel is written to a temporary directory, loaded again and compared with the model.
    Then it is moved to `path` in one step.

    Args:
        model: a `ResNetV2`, or a functional model around one, which takes RGB images and has one
            output.
        path: the directory to write.
        input_range: the values of black and white in the images that the module takes. Google's
            BiT modules take (0, 1).
        freeze: if True, standardize each kernel once at export instead of at each call, so that
            serving is faster. A frozen module lists no variables to train, and its `training`
            argument has no effect.
        overwrite: if True, replace an existing SavedModel at `path`. Any other directory with files
            is never replaced.
        class_names: the names of a classifier's classes, in order; the default is
            `model.class_names`, which fine-tuning sets, or the numbers from "0" if it is None. The
            names of the upstream ILSVRC-2012 classes are `preprocessing.class_names(1000)[1]`.
        image_size: the side in pixels of the square to which `serving_bytes` resizes an image. The
            default is the model's fixed input size, or, if the size is free, that of the test
            images of the training, which a model that was trained by a run keeps. Without a run it
            is the BiT-HyperRule's size for photographs: 384, and 480 for R152x4.
        model_range: the values of black and white in the images that `model` itself takes. None
            means (-1, 1), or the range that the model's own layers scale to [-1, 1], such as (0,
            255) with `Rescaling(1 / 127.5, -1)` in front of the network. The exported module
            converts images from `input_range` to this range.
        background: the colour that `serving_bytes` puts behind transparent pixels: a name or a code
            such as "#ff8000". The default is that of the training, which a model that was trained
            by a run keeps, or white.
        quantizable: if True, write a frozen module whose group normalization
            `tf.lite.TFLiteConverter` can convert to integers with a `representative_dataset`.
            LiteRT ends the process when it runs integers of the usual form.

    Returns:
        The agreement of the written SavedModel with the model, as for `check_export`.

    Raises:
        OSError: `path` exists and must not be replaced, or it cannot be written.
        ValueError: the model cannot be exported, or an argument is out of range.
        RuntimeError: the SavedModel gives other numbers than the model; `path` is left unchanged.

    Example:

    >>> import bit_keras
    >>> model = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=10)
    >>> agreement = bit_keras.export_saved_model(model, "/tmp/bit_keras_doctest", overwrite=True)
    >>> module = tf.saved_model.load("/tmp/bit_keras_doctest")
    >>> module(tf.zeros((1, 48, 64, 3)), training=False).shape
    TensorShape([1, 10])
    """
    _check_process()
    if model_range is not None:
        model_range = _checked_range("model_range", model_range)
    outputs = outputs_of(model, model_range)
    check_input(model)
    if quantizable and not freeze:
        raise ValueError("quantizable=True is for a module that is only served: pass freeze=True.")
    if not freeze:
        _check_losses(model)
    serving = Serving(
        input_range=_checked_range("input_range", input_range),
        image_size=_serving_size(model, image_size),
        class_names=_checked_names(
            class_names_of(model) if class_names is None else class_names, outputs.classes
        ),
        frozen=bool(freeze),
        background=_background(model, background),
    )
    with (
        atomic_directory(path, overwrite) as directory,
        tempfile.TemporaryDirectory() as folder,
    ):
        description = json.dumps(describe(model, outputs, serving), indent=2)
        assets = {_DESCRIPTION: description + "\n"}
        if outputs.classes is not None:
            assets[_CLASS_NAMES] = "".join(f"{name}\n" for name in serving.class_names)
        for name, text in assets.items():
            Path(folder, name).write_text(text, "utf-8")
        network = frozen_copy(model) if freeze else model
        network = with_normalization_in_rows(network) if quantizable else network
        module = ExportedModule(
            network,
            outputs_of(network, outputs.model_range),
            serving,
            description,
            [os.path.join(folder, name) for name in assets],
        )
        _save(module, directory)
        # The file fingerprint.pb is removed: nothing needs it, and its random identifier would make
        # two exports of the same model differ.
        (directory / "fingerprint.pb").unlink(missing_ok=True)
        return check_export(
            model,
            directory,
            serving.input_range,
            bound=FROZEN_BOUND if freeze else FLOAT32_BOUND,
            shapes=_TEST_SHAPES,
            model_range=outputs.model_range,
        )


def _save(module: ExportedModule, directory: Path) -> None:
    try:
        tf.saved_model.save(module, str(directory), signatures=module.signatures())
    except (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError) as error:
        # TensorFlow raises these errors if the disk is full or the directory is not writable.
        raise OSError(f"{directory.parent} cannot be written: {error.message}") from error


def _check_process() -> None:
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "export_saved_model needs Keras' TensorFlow backend, but the backend is "
            f"{keras.backend.backend()!r}. Save the model with model.save('model.keras'), and load "
            "it in a process with KERAS_BACKEND=tensorflow."
        )
    if tf.distribute.has_strategy():
        raise ValueError(
            "export_saved_model was called in strategy.scope(), where the written graphs would "
            "depend on the strategy. Call it outside of the scope; the model may have been made in "
            "the scope."
        )


def check_input(model: keras.Model) -> None:
    """Raises a ValueError unless the model's only input is a batch of float RGB images."""
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise ValueError(
            f"Model {model.name!r} takes inputs of shapes {shapes}; expected one input of RGB "
            "images, [batch, height, width, 3]. Build a model around it that takes RGB images and "
            "converts them to these inputs."
        )
    dtype = model.inputs[0].dtype
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            f"Model {model.name!r} takes {dtype} images and scales them itself; expected a model "
            "that takes floats in [-1, 1]. Export the part of the model after the scaling; with "
            "input_range=(0, 255), the exported module scales the images."
        )


def _check_losses(model: keras.Model) -> None:
    for layer in all_layers(model):
        if layer.activity_regularizer is not None:
            raise ValueError(
                f"Layer {layer.name!r} has an activity_regularizer. A reusable SavedModel can hold "
                "only losses of weights, so it would be trained with another loss. Export the "
                "model with freeze=True for serving, or without the regularizer."
            )


def _checked_range(name: str, given) -> tuple[float, float]:
    pair = tuple(given) if isinstance(given, Sequence) else (given,)
    numbers = all(isinstance(value, Real) and math.isfinite(value) for value in pair)
    if len(pair) != 2 or not numbers or not pair[0] < pair[1]:
        raise ValueError(
            f"{name}={given!r}: expected the values of black and white, two numbers "
            "with the lower one first, such as (0, 1), (0, 255) or (-1, 1)."
        )
    return tuple(float(value) for value in pair)


def _serving_size(model: keras.Model, image_size: int | None) -> tuple[int, int]:
    fixed = tuple(model.input_shape[1:3])
    if image_size is None:
        record = record_of(model)
        if record is not None and record.crop is not None:
            return tuple(size or record.crop for size in fixed)
        # 480 x 640 stands for any photograph, because the HyperRule only distinguishes images that
        # are larger than 96 x 96 pixels from smaller ones.
        architecture = architecture_of(model) or ""
        rule = HyperRule.for_task(num_examples=1, image_size=(480, 640), model=architecture)
        return tuple(size or rule.crop for size in fixed)
    check_integer("image_size", image_size)
    if any(size not in (None, image_size) for size in fixed):
        raise ValueError(
            f"image_size={image_size}, but model {model.name!r} takes only images of {fixed[0]} x "
            f"{fixed[1]} pixels. Leave image_size out."
        )
    return int(image_size), int(image_size)


def _background(model: keras.Model, background: str | None) -> tuple[int, int, int]:
    """Returns the red, green and blue of the colour behind transparent pixels."""
    if background is None:
        record = record_of(model)
        background = "white" if record is None else record.transparent_colour
    return colour_of(background)


def _checked_names(class_names: Sequence[str] | None, classes: int | None) -> tuple[str, ...]:
    if class_names is None:
        return tuple(str(number) for number in range(classes or 0))
    if classes is None:
        raise ValueError(
            "class_names was given, but the model counts as a model of features, because it does "
            "not end in a Dense layer, alone or followed by a softmax or a sigmoid of Keras. Let "
            "it end so, or leave class_names out; if the model has class_names, set them to None."
        )
    names = checked_names(class_names)
    if len(names) != classes:
        raise ValueError(
            f"class_names has {len(names)} names, but the model has {classes} classes; expected "
            "one name for each class."
        )
    for name in names:
        # A class name that was read from a file often still ends with a newline. Such a name is
        # refused.
        if name.splitlines() != [name]:
            raise ValueError(
                f"class_names contains {name!r}; expected strings of one line that are not empty. "
                "serving_bytes returns the empty name for an input that is not an image."
            )
    return tuple(map(printable, names))


def describe(model: keras.Model, outputs: Outputs, serving: Serving) -> dict:
    """Returns a description of an export (model, weights, output, options) as data for JSON.

    The description does not depend on the time or the machine of the export, so that the same model
    gives the same bytes.
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
        "serving_bytes_images": _images_read(serving) if outputs.names_classes else None,
        "frozen": serving.frozen,
        "versions": {
            "bit_keras": __version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        },
    }


def _images_read(serving: Serving) -> str:
    red, green, blue = serving.background
    return (
        f"{READ_IN_GRAPH}. Transparent pixels show the colour #{red:02x}{green:02x}{blue:02x}, and "
        "an EXIF orientation is applied, as in training. Any other image, such as TIFF or AVIF, "
        "which training reads with Pillow, gets class -1."
    )


def architecture_of(model: keras.Model) -> str | None:
    """Returns the name of a network by its depths and width, such as "R50x1".

    Returns:
        The name, or None if the model is not a `ResNetV2` with the depths and width of the zoo.
    """
    if not isinstance(model, ResNetV2):
        return None
    shape = (model.depths, model.width)
    return next((name for name, a in ARCHITECTURES.items() if (a.depths, a.width) == shape), None)


def _weights_sha256(model: keras.Model) -> str:
    """Returns the sha256 of all weights, sorted by path: their paths, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for weight in sorted(model.weights, key=lambda weight: weight.path):
        digest.update(f"{weight.path} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(np.ascontiguousarray(weight.numpy()).view("uint8").data)
    return digest.hexdigest()

"""`export_saved_model`: a model as a SavedModel that others can fine-tune and serve."""

import json
import math
import os
import tempfile
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path

import keras
import tensorflow as tf

from bit_keras.hyperrule import HyperRule
from bit_keras.saved_model.comparison import compare, layers_of
from bit_keras.saved_model.description import architecture_of, describe
from bit_keras.saved_model.directory import check_target, directory_written_whole
from bit_keras.saved_model.exported_module import ExportedModule, Serving
from bit_keras.saved_model.frozen import frozen_copy
from bit_keras.saved_model.outputs import outputs_of

_DESCRIPTION, _CLASS_NAMES = "bit_keras.json", "class_names.txt"  # in the SavedModel's assets/


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    input_range: tuple[float, float] = (0, 1),
    freeze: bool = False,
    overwrite: bool = False,
    class_names: Sequence[str] | None = None,
    image_size: int | None = None,
) -> None:
    """Writes a model as a reusable TF2 SavedModel, which needs neither bit_keras nor Keras.

    The root is callable, `module(images, training=False)`, and gives what the model gives, in
    float32. It has `variables`, `trainable_variables` and `regularization_losses` (functions
    without arguments), as `hub.KerasLayer` and `bit_keras.HubLayer` want them, and `describe()`,
    which gives the JSON that is also in `assets/bit_keras.json`: range, classes, sha256 of the
    weights, versions. `assets/class_names.txt` has a name a line.
    Images are float32 RGB, `[batch, height, width, 3]`, in `input_range`, at any height and width
    that the model takes. The signatures are

        serving_default    images -> "logits", or "probabilities", "features", "feature_map":
                           whatever the model gives
        features           images -> "features" [batch, channels]: what the head sees, or a map
                           pooled
        serving_bytes      images, encoded [batch] strings (JPEG, PNG, GIF, BMP, WebP) ->
                           "classes" int64, "probabilities" float32, "names" strings; all [batch,
                           5], or fewer where there are fewer classes. What is no image, or half
                           of one, has class -1, probability 0 and an empty name. (A BMP with a
                           palette is read as grey.) Classifiers of two classes or more only

    The file is loaded again and compared with the model before it is moved to `path`, which
    happens in one step.

    Args:
        model: a `ResNetV2`, or a functional model around one, of RGB images in [-1, 1], with one
            output.
        path: the directory to write.
        input_range: the values of black and white in the images that the module takes. Google's
            BiT modules take (0, 1).
        freeze: whether each kernel is standardized once, and not at each call: for serving at full
            speed. Such a module lists no variables to train, and `training=` does nothing.
        overwrite: whether a SavedModel that is at `path` is replaced. Another directory never is.
        class_names: of a classifier, one a class; the default is the numbers from "0". A task has
            `task.class_names`; `bit_keras.preprocessing.class_names(1000)[1]` are the upstream
            ones.
        image_size: side in pixels of the square to which `serving_bytes` resizes an image: the
            test resolution of the fine-tuning, its rule's `crop`. The default is the model's own
            fixed size, if it has one, else the BiT-HyperRule's for photographs: 384, and 480 for
            R152x4.

    Raises:
        OSError: something is at `path` that is not to be replaced, or it cannot be written.
        ValueError: the model cannot be exported so, or an argument is out of range.
        RuntimeError: the written file gives other numbers than the model. Nothing is left of it.

    Example:

    >>> import bit_keras
    >>> model = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=10)
    >>> bit_keras.export_saved_model(model, "/tmp/bit_keras_doctest", overwrite=True)
    >>> module = tf.saved_model.load("/tmp/bit_keras_doctest")
    >>> module(tf.zeros((1, 48, 64, 3)), training=False).shape
    TensorShape([1, 10])
    """
    _check_process()
    outputs = outputs_of(model)
    check_input(model)
    if not freeze:
        _check_losses(model)
    serving = Serving(
        input_range=_checked_range(input_range),
        image_size=_serving_size(model, image_size),
        class_names=_checked_names(class_names, outputs.classes),
        frozen=bool(freeze),
    )
    check_target(path, overwrite)
    description = json.dumps(describe(model, outputs, serving), indent=2)
    with (
        directory_written_whole(path, overwrite) as directory,
        tempfile.TemporaryDirectory() as folder,
    ):
        assets = {_DESCRIPTION: description + "\n"}
        if outputs.classes is not None:
            assets[_CLASS_NAMES] = "".join(f"{name}\n" for name in serving.class_names)
        for name, text in assets.items():
            Path(folder, name).write_text(text, "utf-8")
        network = frozen_copy(model) if freeze else model
        module = ExportedModule(
            network,
            outputs_of(network),
            serving,
            description,
            [os.path.join(folder, name) for name in assets],
        )
        _save(module, directory)
        # Its identifier is random, so that no two files were alike; nothing needs it.
        (directory / "fingerprint.pb").unlink(missing_ok=True)
        compare(model, outputs, serving, directory)


def _save(module: ExportedModule, directory: Path) -> None:
    try:
        tf.saved_model.save(module, str(directory), signatures=module.signatures())
    except (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError) as error:
        # What TensorFlow's file system says of a full disk.
        raise OSError(f"{directory.parent} cannot be written: {error.message}") from error


def _check_process() -> None:
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "export_saved_model needs Keras' tensorflow backend, and this process runs "
            f"{keras.backend.backend()!r}. Save the model with model.save('model.keras') and load "
            "it in a process with KERAS_BACKEND=tensorflow."
        )
    if tf.distribute.has_strategy():
        raise ValueError(
            "export_saved_model was called in strategy.scope(), where the graphs it writes would "
            "be bound to the strategy. Call it after the scope: a model that was made in one is "
            "fine."
        )


def check_input(model: keras.Model) -> None:
    """Raises a ValueError unless the model takes RGB images, and these as floats."""
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise ValueError(
            f"Model {model.name!r} takes inputs of shapes {shapes}; expected one, of RGB images: "
            "[batch, height, width, 3]. Convert the images to RGB in a model around it."
        )
    dtype = model.inputs[0].dtype
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            f"Model {model.name!r} takes {dtype} images, which it turns into its own range; "
            "expected floats in [-1, 1]. Export the network behind that step: the module does it, "
            "with input_range=(0, 255)."
        )


def _check_losses(model: keras.Model) -> None:
    for layer in layers_of(model):
        if layer.activity_regularizer is not None:
            raise ValueError(
                f"Layer {layer.name!r} has an activity_regularizer. A reusable SavedModel holds "
                "losses of weights alone, so that it would be trained by another loss. Export it "
                "with freeze=True, for serving, or without the regularizer."
            )


def _checked_range(input_range) -> tuple[float, float]:
    pair = tuple(input_range) if isinstance(input_range, Sequence) else (input_range,)
    numbers = all(isinstance(value, Real) and math.isfinite(value) for value in pair)
    if len(pair) != 2 or not numbers or not pair[0] < pair[1]:
        raise ValueError(
            f"input_range={input_range!r}: expected the values of black and white, two numbers, "
            "the lower one first, such as (0, 1), (0, 255) or (-1, 1)."
        )
    return tuple(float(value) for value in pair)


def _serving_size(model: keras.Model, image_size: int | None) -> tuple[int, int]:
    fixed = tuple(model.input_shape[1:3])
    if image_size is None:
        # Any photograph will do: the rule asks whether an image is larger than 96 x 96 pixels.
        architecture = architecture_of(model) or ""
        rule = HyperRule.for_task(num_examples=1, image_size=(480, 640), model=architecture)
        return tuple(size or rule.crop for size in fixed)
    if not isinstance(image_size, Integral) or isinstance(image_size, bool) or image_size < 1:
        raise ValueError(
            f"image_size={image_size!r}: expected a side in pixels, an integer of at least 1."
        )
    if any(size not in (None, image_size) for size in fixed):
        raise ValueError(
            f"image_size={image_size}, but model {model.name!r} takes images of {fixed[0]} x "
            f"{fixed[1]} only. Leave image_size out."
        )
    return int(image_size), int(image_size)


def _checked_names(class_names: Sequence[str] | None, classes: int | None) -> tuple[str, ...]:
    if class_names is None:
        return tuple(str(number) for number in range(classes or 0))
    if classes is None:
        raise ValueError("class_names for a model that gives features: leave them out.")
    if isinstance(class_names, str):
        raise ValueError(f"class_names={class_names!r}: expected a list of strings, one a class.")
    names = tuple(class_names)
    if len(names) != classes:
        raise ValueError(
            f"class_names has {len(names)} names, and the model {classes} classes: expected one "
            "name a class."
        )
    for name in names:
        # A line that was read from a file often has its end on it.
        if not isinstance(name, str) or name.splitlines() != [name]:
            raise ValueError(
                f"class_names has {name!r}; expected strings of one line each, and not empty: "
                "the empty name stands for what is no image."
            )
    return names

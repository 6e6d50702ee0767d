"""Checks a model's images, labels and loss for common mistakes.

Keras would accept many of these mistakes silently or raise an unrelated error. Users of
keras.applications are used to networks that end in a softmax and often take pixels from 0 to 255;
the networks of bit_keras return logits and take images in [-1, 1].
"""

import math
import warnings
from collections.abc import Mapping
from numbers import Real
from typing import Any

import keras
import numpy as np

from bit_keras.utils.keras_internals import Functional, consumers_of, operation_of

# Maps a number of channels other than 3 to advice on how to convert such images to RGB.
_TO_RGB = {
    1: "Grey images become RGB by keras.ops.repeat(images, 3, axis=-1).",
    4: "RGBA images become RGB by images[..., :3], which drops the transparency.",
}


def check_images(model: keras.Model, inputs: Any) -> None:
    """Raises a ValueError for inputs that cannot be a batch of images for a BiT network.

    The check reads only the dtype, the rank and the number of channels, so it also works for
    symbolic tensors. It covers only the model inputs that go directly into a BiT network; inputs
    that go through other layers first are not checked.

    Args:
        model: any Keras model; a model that is not functional is not checked.
        inputs: the inputs that the model is called with.
    """
    if not isinstance(model, Functional):
        return
    for images, wanted in zip(keras.tree.flatten(inputs), model.inputs, strict=False):
        is_tensor = hasattr(images, "shape") and hasattr(images, "dtype")
        problem = _problem(images, wanted) if is_tensor and _enters_a_network(wanted) else None
        if problem:
            raise ValueError(f"Model {model.name!r} {problem}")


def _problem(images: Any, wanted: Any) -> str | None:
    shape, channels = tuple(images.shape), wanted.shape[-1]
    expected = f"expected [batch, height, width, {channels}]"
    if len(shape) == 3:
        return (
            f"got an input of shape {shape}; {expected}. A single image needs an axis for the "
            "batch: image[None]. (fit, evaluate and predict split their input into batches along "
            "its first axis.)"
        )
    if len(shape) == 4 and None not in (shape[-1], channels) and shape[-1] != channels:
        advice = _TO_RGB.get(shape[-1], "") if channels == 3 else ""
        if shape[1] == channels:
            advice = "This looks like channels_first: images.transpose(0, 2, 3, 1)."
        return f"got images of shape {shape}; {expected}. {advice}".rstrip()
    dtype = keras.backend.standardize_dtype(images.dtype)
    if "int" in dtype and keras.backend.is_float_dtype(wanted.dtype):
        return (
            f"got {dtype} images; expected floats in [-1, 1]. Pass "
            "bit_keras.preprocess_input(images), which converts pixels from 0 to 255 to this range."
        )
    return None


def _enters_a_network(tensor: Any) -> bool:
    """Returns True if a model's input goes directly into a ResNetV2 or its first layer."""
    return any(
        operation.name == "root_block_pad" or hasattr(operation, "unit_boundaries")
        for operation in consumers_of(tensor)
    )


def check_labels(model: keras.Model, x: Any, y: Any) -> None:
    """Raises a ValueError if the labels do not fit the loss or are not valid class numbers.

    The shape and the dtype of the labels are read from `y` or, for a tf.data.Dataset, from its
    second component. The values of labels are checked only in numpy arrays. On accelerators, an
    invalid label would make the loss NaN.

    Args:
        model: a compiled model. It is checked only if it has one output `[batch, classes]` and one
            of Keras' crossentropies as its loss.
        x, y: the arguments of `fit`.
    """
    loss = _keras_loss(getattr(model, "loss", None))
    outputs, name = getattr(model, "outputs", None) or (), _loss_name(loss)
    if not name or len(outputs) != 1 or len(outputs[0].shape) != 2:
        return
    classes = outputs[0].shape[-1]
    takes = (
        f"integers from 0 to {max(classes, 2) - 1}, [batch]"
        if name.startswith("sparse")
        else f"[batch, {classes}]"
    )
    labels = _labels(x, y)
    _check_label_type(labels, f"the loss {name} over {classes} classes, which takes {takes}")
    shape = _shape(labels)
    # If the model has one class, labels may have no last axis, so their shape is not checked.
    if shape is None or classes == 1:
        return
    if name.startswith("sparse"):
        if len(shape) != 1 and shape[1:] not in ((1,), (None,)):
            raise ValueError(
                f"Labels of shape {shape} {'look one-hot' if len(shape) == 2 else 'do not fit'}, "
                f"and the loss {name} takes {takes}, as the model has classes={classes}. For "
                f"one-hot labels [batch, {classes}] use keras.losses.CategoricalCrossentropy."
            )
        if isinstance(labels, np.ndarray):
            _check_label_values(labels, classes, getattr(loss, "ignore_class", None))
    elif len(shape) != 2 or shape[1] not in (classes, None):
        raise ValueError(
            f"Labels of shape {shape} do not fit the loss {name} over {classes} classes, which "
            f"takes [batch, {classes}]. Is the model's classes={classes} the number of classes? "
            f"Integers become one-hot by keras.utils.to_categorical(labels, {classes}), and "
            "keras.losses.SparseCategoricalCrossentropy takes them as they are."
        )


def _check_label_type(labels: Any, loss: str) -> None:
    """Raises a ValueError if the labels are a list or tuple of numbers, or are not numbers."""
    if isinstance(labels, list | tuple) and labels and not hasattr(labels[0], "shape"):
        raise ValueError(
            f"The labels are a {type(labels).__name__} and do not fit {loss}. Expected an array: "
            "numpy.array(labels)."
        )
    dtype = getattr(labels, "dtype", None)
    if dtype is None:
        return
    dtype = getattr(dtype, "name", str(dtype))  # A torch.dtype has no name, so its text is used.
    if not dtype.startswith(("int", "uint", "float", "bfloat", "bool", "torch.")):
        raise ValueError(
            f"Labels of dtype {dtype} do not fit {loss}. Expected numbers. To convert class names "
            "to numbers, call names, labels = numpy.unique(labels, return_inverse=True)."
        )


def _check_label_values(labels: np.ndarray, classes: int, ignored: int | None) -> None:
    labels = labels[labels != ignored] if ignored is not None else labels
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"Labels from {labels.min()} to {labels.max()}; expected 0 to {classes - 1}, as the "
            f"model has classes={classes}. Build the model with the right number of classes, and "
            "number the labels from 0."
        )
    fractions = labels[labels != np.floor(labels)] if labels.dtype.kind == "f" else ()
    if len(fractions):
        raise ValueError(
            f"Labels have fractions, such as {fractions[0]}; expected integers from 0 to "
            f"{classes - 1}. Keras would cut the fractions off."
        )


def check_class_weight(model: keras.Model, class_weight: Any) -> None:
    """Raises a ValueError unless class_weight maps the model's classes to numbers of at least 0.

    Args:
        model: a model; the numbers of classes are checked only if it has one output
            `[batch, classes]`.
        class_weight: the argument of `fit`, or None.
    """
    if class_weight is None:
        return
    if not isinstance(class_weight, Mapping):
        raise ValueError(
            f"class_weight is of type {type(class_weight).__name__}: expected a dict from the "
            "number of a class to its weight. A list of weights becomes one by "
            "dict(enumerate(weights))."
        )
    for number, weight in class_weight.items():
        if not isinstance(weight, Real) or not math.isfinite(weight) or weight < 0:
            raise ValueError(
                f"class_weight gives class {number!r} the weight {weight!r}: expected a finite "
                "number of at least 0."
            )
    outputs = getattr(model, "outputs", None) or ()
    if len(outputs) != 1 or len(outputs[0].shape) != 2 or outputs[0].shape[-1] is None:
        return
    numbers = range(max(outputs[0].shape[-1], 2))
    unknown = [number for number in class_weight if number not in numbers]
    if unknown:
        raise ValueError(
            f"class_weight has the key {unknown[0]!r}: expected class indices from 0 to "
            f"{numbers[-1]}, as in the labels. Keras would ignore other keys. The index of a class "
            "is the position of its name in class_names."
        )


def warn_of_logits(model: keras.Model) -> None:
    """Warns if a loss that expects probabilities is computed from a dense layer's logits.

    Args:
        model: a compiled model. Several outputs are checked only if their losses are a list.
    """
    outputs = getattr(model, "outputs", None) or ()
    losses = model.loss if isinstance(model.loss, list | tuple) else [model.loss]
    if len(losses) != len(outputs):
        return
    for loss, output in zip(losses, outputs, strict=True):
        loss = _keras_loss(loss)
        if _loss_name(loss) and not getattr(loss, "from_logits", False) and _is_logits(output):
            warnings.warn(
                f"The loss {_loss_name(loss)} takes probabilities, and model {model.name!r} gives "
                "logits: the model would learn nothing sensible. Pass the loss as an object with "
                "from_logits=True, as in "
                "keras.losses.SparseCategoricalCrossentropy(from_logits=True); or build the model "
                "with classifier_activation='softmax'.",
                # With this stacklevel, the warning shows the user's line that called fit.
                stacklevel=3,
            )


def warn_of_metrics(model: keras.Model) -> None:
    """Warns if a metric that expects probabilities is computed from a dense layer's logits.

    Args:
        model: a compiled model whose metrics have been built. It is checked if it has one output.
    """
    outputs = getattr(model, "outputs", None) or ()
    if len(outputs) != 1 or not _is_logits(outputs[0]):
        return
    for compiled in model.metrics:
        for metric in getattr(compiled, "metrics", [compiled]):
            argument = _argument_for_logits(metric)
            if argument:
                warnings.warn(
                    f"The metric {metric.name!r} takes probabilities, and model {model.name!r} "
                    "gives logits: the metric would be wrong. Pass the metric as an object, "
                    f"keras.metrics.{type(metric).__name__}({argument}).",
                    stacklevel=3,
                )


def _argument_for_logits(metric: keras.metrics.Metric) -> str:
    """Returns the argument that makes a Keras metric take logits, such as "threshold=0"; or ""."""
    if not type(metric).__module__.startswith("keras."):
        return ""
    config = metric.get_config()
    if config.get("from_logits") is False:
        return "from_logits=True"
    # These metrics divide the classes at a probability of 0.5 by default, which is a logit of 0.
    if isinstance(metric, keras.metrics.BinaryAccuracy):
        return "threshold=0" if config["threshold"] == 0.5 else ""
    is_default = config.get("top_k") is None and config.get("thresholds", 0) is None
    divides = isinstance(metric, keras.metrics.Precision | keras.metrics.Recall)
    return "thresholds=0" if divides and is_default else ""


def _is_logits(output: Any) -> bool:
    operation = operation_of(output)
    if isinstance(operation, Functional):
        return len(operation.outputs) == 1 and _is_logits(operation.outputs[0])
    is_dense = isinstance(operation, keras.layers.Dense)
    return is_dense and operation.activation is keras.activations.linear


def _keras_loss(loss: Any) -> Any:
    """Returns `loss`, or the loss function of that name if `loss` is a string."""
    return keras.losses.get(loss) if isinstance(loss, str) else loss


def _loss_name(loss: Any) -> str:
    """Returns the name of a loss, such as "sparse_categorical_crossentropy".

    Returns "" if the loss is not one of Keras' crossentropies.
    """
    function = loss if callable(loss) and hasattr(loss, "__name__") else getattr(loss, "fn", None)
    name = getattr(function, "__name__", "")
    is_of_keras = getattr(function, "__module__", "").startswith("keras.")
    return name if is_of_keras and name.endswith("crossentropy") else ""


def _labels(x: Any, y: Any) -> Any:
    """Returns the labels that `fit` gets, or their specification in a tf.data.Dataset."""
    if y is None:
        spec = getattr(x, "element_spec", None)
        return spec[1] if isinstance(spec, tuple) and len(spec) > 1 else None
    return y


def _shape(labels: Any) -> tuple | None:
    shape = getattr(labels, "shape", None)
    # A tf.TensorShape can have an unknown rank, which counts here as an unknown shape.
    return None if shape is None or getattr(shape, "rank", 0) is None else tuple(shape)

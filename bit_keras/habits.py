"""Answers to mistakes of habit, where Keras would say nothing or speak of another thing.

The networks of keras.applications end in a softmax, and many of them take pixels as they are: ours
give logits and take [-1, 1].
"""

import warnings
from typing import Any

import keras
import numpy as np
from keras.src.models import Functional

# How to have three channels, by the number that came.
_TO_RGB = {
    1: "Grey images become RGB by keras.ops.repeat(images, 3, axis=-1).",
    4: "RGBA images become RGB by images[..., :3], which drops the transparency.",
}


def check_images(model: keras.Model, inputs: Any) -> None:
    """Raises a ValueError for what is certainly no batch of images for a network of BiT.

    Only the dtype, the rank and the channels are looked at, so it holds for symbolic tensors too,
    and only those inputs of a graph that go straight into a network: what other layers see first
    is theirs to judge.

    Args:
        model: any; the inputs of one that is no functional graph are not looked at.
        inputs: what it is called on.
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
            "batch: image[None]. (fit, evaluate and predict cut what they get along its first "
            "axis.)"
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
            "bit_keras.preprocess_input(images), which makes them of pixels from 0 to 255."
        )
    return None


def _enters_a_network(tensor: Any) -> bool:
    """Whether a graph's input goes into a ResNetV2, as a layer or as the layers of one."""
    return any(
        node.operation.name == "root_block_pad" or hasattr(node.operation, "unit_boundaries")
        for node in tensor._keras_history.operation._outbound_nodes
    )


def check_labels(model: keras.Model, x: Any, y: Any) -> None:
    """Raises a ValueError for labels that the loss cannot take, or that name no class.

    The labels' shape is that of `y` or, for a tf.data.Dataset, of its second component. Values
    are looked at in numpy arrays alone: on accelerators a label that is no class gives NaN.

    Args:
        model: compiled. Only one output `[batch, classes]` with one of Keras' crossentropies is
            looked at.
        x, y: as `fit` takes them.
    """
    loss = _keras_loss(getattr(model, "loss", None))
    shape = _label_shape(x, y)
    outputs = getattr(model, "outputs", None) or ()
    if shape is None or len(outputs) != 1 or len(outputs[0].shape) != 2:
        return
    classes, name = outputs[0].shape[-1], _loss_name(loss)
    if classes == 1:  # labels may lack the last axis
        return
    if name.startswith("sparse"):
        if len(shape) == 2 and shape[1] == classes:
            raise ValueError(
                f"Labels of shape {shape} look one-hot, and the loss takes integers from 0 to "
                f"{classes - 1}, [batch]. Use keras.losses.CategoricalCrossentropy."
            )
        if isinstance(y, np.ndarray):
            _check_label_values(y, classes, getattr(loss, "ignore_class", None))
    elif name and (len(shape) != 2 or shape[1] not in (classes, None)):
        raise ValueError(
            f"Labels of shape {shape} do not fit the loss {name} over {classes} classes, which "
            f"takes [batch, {classes}]. Is the model's classes={classes} the number of classes? "
            f"Integers become one-hot by keras.utils.to_categorical(labels, {classes}), and "
            "keras.losses.SparseCategoricalCrossentropy takes them as they are."
        )


def _check_label_values(labels: np.ndarray, classes: int, ignored: int | None) -> None:
    labels = labels[labels != ignored] if ignored is not None else labels
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"Labels from {labels.min()} to {labels.max()}; expected 0 to {classes - 1}, as the "
            f"model has classes={classes}. Build it with as many classes as there are, and count "
            "labels from 0."
        )


def warn_of_logits(model: keras.Model) -> None:
    """Warns where a loss that takes probabilities is given a dense layer's logits.

    Args:
        model: compiled; several outputs are looked at where their losses are a list.
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
                "logits: it would learn nothing sensible. Pass the loss as an object with "
                "from_logits=True, as in "
                "keras.losses.SparseCategoricalCrossentropy(from_logits=True); or build the model "
                "with classifier_activation='softmax'.",
                stacklevel=3,  # the caller of fit
            )


def _is_logits(output: Any) -> bool:
    operation = output._keras_history.operation
    if isinstance(operation, Functional):
        return len(operation.outputs) == 1 and _is_logits(operation.outputs[0])
    is_dense = isinstance(operation, keras.layers.Dense)
    return is_dense and operation.activation is keras.activations.linear


def _keras_loss(loss: Any) -> Any:
    """A loss as Keras will call it: strings are names of functions."""
    return keras.losses.get(loss) if isinstance(loss, str) else loss


def _loss_name(loss: Any) -> str:
    """ "sparse_categorical_crossentropy" or the like; "" for what is no crossentropy of Keras."""
    function = loss if callable(loss) and hasattr(loss, "__name__") else getattr(loss, "fn", None)
    name = getattr(function, "__name__", "")
    is_of_keras = getattr(function, "__module__", "").startswith("keras.")
    return name if is_of_keras and name.endswith("crossentropy") else ""


def _label_shape(x: Any, y: Any) -> tuple | None:
    if y is None:
        spec = getattr(x, "element_spec", None)
        y = spec[1] if isinstance(spec, tuple) and len(spec) > 1 else None
    shape = getattr(y, "shape", None)
    # A tf.TensorShape may not even know its rank.
    return None if shape is None or getattr(shape, "rank", 0) is None else tuple(shape)

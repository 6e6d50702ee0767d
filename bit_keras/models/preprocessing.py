"""Converts pixels to the input of a BiT network, and the network's output to class names."""

import functools
import os
import warnings

import keras
import numpy as np
from keras import ops

from bit_keras.utils.integers import is_integer
from bit_keras.utils.regular_file import read_regular_file

# The two sets of class names that were published with the weights. Maps the number of classes to
# the beginning of the names of the files with the class names.
_LABELS = {1_000: "ilsvrc2012", 21_843: "imagenet21k"}

_FROM_16_BITS = "divide 16-bit images, whose values go up to 65535, by 257"


@keras.saving.register_keras_serializable(package="bit_keras")
def preprocess_input(images):
    """Returns `(images - 127.5) / 127.5`: pixels 0..255 become [-1, 1].

    Source: the official code, `input_pipeline_tf2_or_jax.py`.

    The function warns once if floats are at most 1, once if the values look preprocessed already,
    and once if they go beyond 255, as 16-bit images do. Of tensors that have no values yet, as in a
    tf.data map, only the dtype is checked.

    Args:
        images: uint8 or float, 0 to 255, RGB in the last axis; any shape. A numpy array, a tensor
            of the Keras backend, a list of either, or a KerasTensor.

    Returns:
        float32 of the same shape; a numpy array for a numpy array.

    Raises:
        TypeError: the argument is a PIL image, a path or a dataset.
        ValueError: the images of a list differ in size.

    Example:

    >>> preprocess_input(np.array([0, 255], "uint8"))
    array([-1.,  1.], dtype=float32)
    """
    _check_pixels(images)
    _warn_of_other_ranges(images)
    if isinstance(images, np.ndarray):
        return (images.astype("float32") - 127.5) / 127.5
    if not keras.utils.is_keras_tensor(images):
        images = ops.convert_to_tensor(images)
    return (ops.cast(images, "float32") - 127.5) / 127.5


def _check_pixels(images) -> None:
    """Raises an error for inputs that are not pixels; the message says how to convert them."""
    if isinstance(images, list | tuple):
        for image in images:
            _check_pixels(image)
        shapes = {tuple(image.shape) for image in images if hasattr(image, "shape")}
        if len(shapes) > 1:
            raise ValueError(
                f"preprocess_input: images of different shapes: {sorted(shapes)}. Expected one "
                "shape; resize the images first, or call preprocess_input for each image."
            )
    elif isinstance(images, str | bytes | os.PathLike):
        raise TypeError(
            f"preprocess_input: got {images!r}; expected pixels from 0 to 255. Read a file by "
            "keras.utils.img_to_array(keras.utils.load_img(path))."
        )
    elif type(images).__module__.split(".")[0] == "PIL":
        raise TypeError(
            f"preprocess_input: got a PIL image of mode {images.mode!r}; expected its pixels: "
            'np.asarray(image.convert("RGB")).'
        )
    elif hasattr(images, "element_spec"):
        raise TypeError(
            f"preprocess_input: got a {type(images).__name__}; expected pixels. Map the data: "
            "dataset.map(lambda images, labels: (preprocess_input(images), labels))."
        )


def _warn_of_other_ranges(images) -> None:
    for image in images if isinstance(images, list | tuple) else [images]:
        problem = _other_range(image)
        if problem:
            _warn_once(problem)


def _other_range(images) -> str | None:
    """Returns the reason why an array cannot hold pixels from 0 to 255, or None if it can."""
    dtype = str(getattr(images, "dtype", "uint8"))
    if "uint8" in dtype:
        return None
    try:
        values = ops.convert_to_numpy(images)
    except (NotImplementedError, TypeError, ValueError):
        # The tensor has no values yet. Each backend raises another class of error for this.
        return f"is uint16: {_FROM_16_BITS}" if "uint16" in dtype else None
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    # Interpolation can give values a few percent below 0 or above the largest pixel. Images in [-1,
    # 1] and standardized images have much lower values.
    if low < -0.25 * max(high, 1):
        return "has negative values, as if it were preprocessed already"
    if high > 1.25 * 255:
        return f"has values far above 255: {_FROM_16_BITS}"
    if low >= 0 and high <= 1 and (values != np.floor(values)).any():
        return "has no value above 1, as if it were scaled to [0, 1]: multiply it by 255"
    return None


@functools.cache
def _warn_once(what: str) -> None:
    warnings.warn(
        f"preprocess_input: the input {what}. Expected pixels from 0 to 255.",
        # With this stacklevel, the warning shows the user's line that called preprocess_input.
        stacklevel=4,
    )


def decode_predictions(logits, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Returns the most probable classes of each image, most probable first.

    Probabilities are computed as in the loss that the upstream models were trained with: the
    softmax for the 1 000 classes of ILSVRC-2012, and the sigmoid of each class for ImageNet-21k,
    whose images have several labels (arXiv 1912.11370, section 3.1).

    Args:
        logits: `[batch, 1000]` or `[batch, 21843]`, the output of a model without
            `classifier_activation`; a numpy array or a tensor.
        top: number of classes to return for each image.

    Returns:
        For each image a list of (WordNet id, names, probability). The names come from the
        release's label files, which are downloaded once.

    Raises:
        ValueError: the logits have another shape or are probabilities, or `top` is out of range.
        DownloadError: the label files are not on this machine and cannot be fetched.
    """
    logits = np.asarray(ops.convert_to_numpy(logits), "float64")
    if logits.ndim != 2 or logits.shape[1] not in _LABELS:
        raise ValueError(
            f"decode_predictions: logits of shape {logits.shape}; expected [batch, 1000] "
            "(ILSVRC-2012) or [batch, 21843] (ImageNet-21k)."
        )
    classes = logits.shape[1]
    if not is_integer(top) or not 1 <= top <= classes:
        raise ValueError(f"decode_predictions: top={top!r}; expected 1 to {classes}.")
    if logits.any() and logits.min() >= 0 and logits.max() <= 1:
        raise ValueError(
            "decode_predictions: all values are from 0 to 1, so they look like probabilities. "
            "Expected logits, the output of a model without classifier_activation."
        )
    probabilities = _softmax(logits) if classes == 1_000 else _sigmoid(logits)
    ids, names = class_names(classes)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    return [
        [(ids[k], names[k], float(row[k])) for k in chosen]
        for row, chosen in zip(probabilities, best, strict=True)
    ]


def class_names(classes: int) -> tuple[list[str], list[str]]:
    """Returns the WordNet ids and the names of the 1000 or 21843 upstream classes, in order.

    Args:
        classes: 1000 (ILSVRC-2012) or 21843 (ImageNet-21k).

    Raises:
        ValueError: `classes` is another number.
        DownloadError: the label files are not on this machine and cannot be fetched.
    """
    if classes not in _LABELS:
        raise ValueError(
            f"classes={classes}: expected 1000 or 21843, because only the names of these classes "
            "are published."
        )
    return tuple(
        _label_lines(f"{_LABELS[classes]}_wordnet_{kind}.txt", classes)
        for kind in ("ids", "lemmas")
    )


def _label_lines(file: str, classes: int) -> list[str]:
    # The import is inside the function, because only the class names need the library for
    # downloads.
    from bit_keras.checkpoints.download import local_file

    def read(path) -> list[str]:
        return read_regular_file(path).decode("utf-8").splitlines()

    def check(path) -> None:
        count = len(read(path))
        if count != classes:
            raise ValueError(f"the file has {count} lines; expected {classes}, one for each class")

    return read(local_file(file, check))


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(logits / 2))  # tanh cannot overflow, but 1 / (1 + exp(-x)) can.

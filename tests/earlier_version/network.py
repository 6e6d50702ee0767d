"""The network and the task of the files that an earlier version of the package wrote."""

import numpy as np
import tensorflow as tf

import bit_keras
from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task

CLASSES = 3

RULE = bit_keras.HyperRule.for_task(12, (32, 32)).scaled(4, steps=6, resize=36, crop=32)


def network():
    """Returns the tiny network, whose body is frozen so that only its head trains.

    Each weight repeats the same 997 numbers, so that the files compress well.
    """
    model = bit_keras.ResNetV2(
        depths=(1, 1, 1, 1), width=0.5, classes=CLASSES, input_shape=(32, 32, 3), name="tiny"
    )
    numbers = np.sin(np.arange(997.0)).astype("float32")
    for variable in model.variables:
        centre = 1.0 if variable.name == "gamma" else 0.0
        values = np.resize(numbers, int(np.prod(variable.shape))).reshape(variable.shape)
        variable.assign(centre + 0.3 * values)
    model.freeze("block4")
    return model


def images():
    """Returns 12 images, uint8 `[12, 32, 32, 3]`."""
    rows = np.arange(12 * 32 * 32 * 3, dtype=np.int64)
    return (rows * 7919 % 251).astype("uint8").reshape(12, 32, 32, 3)


def task():
    """Returns a task of 12 images of three classes, which are the test images too."""
    pixels, labels = images(), np.arange(12) % CLASSES
    examples = Examples(
        num_examples=12,
        elements=lambda: tf.data.Dataset.from_tensor_slices({"image": pixels, "label": labels}),
        read=lambda element: element,
        labels=labels,
    )
    return Task("arrays", ("a", "b", "c"), (32, 32), examples, examples)

"""Data of the tests of pre-training and distillation, and what its runs leave."""

import dataclasses
import gzip
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from array_tasks import array_task
from PIL import Image

from bit_keras.data.examples import Examples

FILES = {
    "config.json",
    "history.json",
    "learning_curve.png",
    "task.json",
    "metrics.json",
    "model.keras",
    "tensorboard",
    "weights.npz",
}

FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")
SECOND = [8, 9, 6, 9, 6, 8, 7, 5, 1, 3]  # a second label for each of its ten


def noise_task():
    images = np.random.default_rng(0).integers(0, 256, [40, 20, 24, 3], np.uint8)
    return array_task(images, np.arange(40) % 3)


def several_labels(task, second, without=None):
    """The task with the labels y and second[y] of what had the label y; with none of `without`."""
    second = tf.constant(second, tf.int64)

    def read(element):
        y = element["label"]
        count = 2 if without is None else 2 * tf.cast(y != without, tf.int32)
        return {**element, "label": tf.stack([y, second[y]])[:count]}

    train, test = (
        Examples(part.num_examples, part.elements, read) for part in (task.train, task.test)
    )
    return dataclasses.replace(task, train=train, test=test, several_labels=True)


def fashion(several=False):
    """Fashion-MNIST, of one label an image or of two."""
    assert FASHION.is_dir(), (
        f"{FASHION} does not exist: apt-get install dataset-fashion-mnist (Debian, Ubuntu)"
    )
    parts = []
    for part in ("train", "t10k"):
        with gzip.open(FASHION / f"{part}-images-idx3-ubyte.gz") as stream:
            images = np.frombuffer(stream.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1)
        with gzip.open(FASHION / f"{part}-labels-idx1-ubyte.gz") as stream:
            labels = np.frombuffer(stream.read(), np.uint8, offset=8)
        parts.append(array_task(images.repeat(3, axis=-1), labels))
    train, test = parts
    task = dataclasses.replace(train, name="fashion", test=test.train)
    return several_labels(task, SECOND) if several else task


def write_pictures(root, count=20, size=40):
    """Writes pictures of one colour each, some in the folder and some in subfolders of it."""
    for number in range(count):
        folder = root / ("", "a", "b/c")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        colour = np.random.default_rng(number).integers(0, 256, 3)
        pixels = np.full([size, size, 3], colour, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def values(model):
    return [keras.ops.convert_to_numpy(weight.value) for weight in model.weights]


def assert_equal(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(run, expected, bound=1e-5):
    """Of two runs, weights (of the largest one), losses, and what was held out."""
    for found, wanted in zip(values(run.model), values(expected.model), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=bound * np.abs(wanted).max())
    for part in (lambda history: history["loss"], lambda history: history["validation"]["loss"]):
        np.testing.assert_allclose(part(run.history), part(expected.history), rtol=bound)
    for name in ("test_loss", "test_accuracy", "validation_accuracy"):
        assert run.metrics[name] == pytest.approx(expected.metrics[name], rel=bound)

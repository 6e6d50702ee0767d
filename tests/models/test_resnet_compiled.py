"""XLA, which TPUs need: forward pass and training step compile whole, and find what graphs find.

`jit_compile=True` is an error where an op cannot be compiled; shapes are static, as XLA wants them.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import images, randomize, tiny
from reference import relative_error

import bit_keras

numpy = keras.ops.convert_to_numpy


def r50x1(**arguments):
    return bit_keras.create("BiT-S-R50x1", classes=10, **arguments)


@pytest.mark.parametrize("network", [tiny, pytest.param(r50x1, marks=pytest.mark.slow)])
def test_forward_pass(network):
    model = randomize(network())
    x = tf.constant(images(2, 64, 96, 3))
    compiled = tf.function(model, jit_compile=True)(x)
    assert relative_error(compiled, tf.function(model)(x)) < 1e-4


@pytest.mark.slow
def test_training_step():
    expected, found = moved_by_a_step(jit_compile=False), moved_by_a_step(jit_compile=True)
    assert found.keys() == expected.keys()
    for path, change in expected.items():
        assert np.any(change), path
        assert relative_error(found[path], change) < 1e-4, path


def moved_by_a_step(jit_compile):
    """The loss of a step, and how far it moves each weight.

    In float64: what float32 rounds puts the odd activation on the other side of its ReLU.
    """
    model = randomize(r50x1(dtype="float64", input_shape=(64, 64, 3)))
    before = {weight.path: numpy(weight) for weight in model.weights}
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float64"),
        jit_compile=jit_compile,
    )
    loss = model.train_on_batch(images(4, 64, 64, 3), np.arange(4))
    moved = {weight.path: numpy(weight) - before[weight.path] for weight in model.weights}
    return moved | {"loss": loss}

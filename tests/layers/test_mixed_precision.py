"""Half precision trains as float32 does, to the precision of its arithmetic."""

import contextlib
import functools

import distributed_program as program
import keras
import numpy as np
import pytest
from marked import slow_except
from networks import images, tiny
from reference import relative_error

from bit_keras.layers.standardized_conv2d import StandardizedConv2D
from bit_keras.models.model import Model

TOLERANCE = 2**-7  # of the largest weight; two steps of bfloat16, of which 0.7 to 1.4 were measured
CLASSES = 3
STEPS, BATCH_SIZE = 20, 8

POLICIES = ["mixed_bfloat16", "mixed_float16"]


@pytest.fixture(autouse=True)
def float32_again():
    yield
    keras.config.set_dtype_policy("float32")


def compiled(make, policy, by=None, slices=1, **scaling):
    keras.utils.set_random_seed(3)
    keras.config.set_dtype_policy(policy)
    model = make()
    if by is not None:
        model.rematerialize(by)
    model.batch_split = slices
    optimizer = keras.optimizers.SGD(0.003, momentum=0.9)
    if scaling:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, **scaling)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def small():
    return program.network(Model)


def deep():
    return tiny(classes=CLASSES, input_shape=(32, 32, 3))


def train(model):
    """Returns the weights before and after."""
    before = model.get_weights()
    number, size = STEPS * BATCH_SIZE, model.input_shape[1]
    model.fit(
        images(number, size, size, 3),
        np.arange(number) % CLASSES,
        batch_size=BATCH_SIZE,
        shuffle=False,
        verbose=0,
    )
    return before, model.get_weights()


def apart(found, expected):
    """The largest difference of two networks' weights, relative to the largest weight."""
    differences = [np.abs(a - b).max() for a, b in zip(found, expected, strict=True)]
    return max(differences) / max(np.abs(value).max() for value in expected)


@pytest.fixture(scope="module")
def in_float32():
    return functools.cache(lambda make: train(compiled(make, "float32")))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("make", "by", "slices"),
    [
        (small, None, 1),
        (small, None, 3),
        pytest.param(deep, "unit", 2, marks=pytest.mark.slow),
    ],
)
def test_half_precision_trains_as_float32_does(policy, make, by, slices, in_float32):
    before, expected = in_float32(make)
    _, found = train(compiled(make, policy, by, slices))
    assert apart(found, expected) < TOLERANCE
    # Or it would hold for any training.
    assert apart(before, expected) > 4 * TOLERANCE


def test_two_replicas_train_as_float32_does(mirrored, in_float32):
    _, expected = in_float32(small)
    with mirrored.scope():
        model = compiled(small, "mixed_bfloat16", slices=2)
    assert apart(train(model)[1], expected) < TOLERANCE


@pytest.mark.parametrize("replicas", slow_except([1], [1, 2]))
def test_a_step_that_overflows_is_skipped_and_halves_the_scale(mirrored, replicas):
    x, y = images(8, 8, 8, 3), np.arange(8) % CLASSES
    with mirrored.scope() if replicas == 2 else contextlib.nullcontext():
        model = compiled(small, "mixed_float16", slices=2, initial_scale=2.0**14)
    model.train_on_batch(x, y)
    assert model.optimizer.dynamic_scale.numpy() == 2**14
    before = model.get_weights()
    # In the gradient of one slice, on one replica, alone.
    model.train_on_batch(x, y, sample_weight=np.array([1, 1, 1, 1, 1, 1, 1, 1e6], "float32"))
    assert apart(model.get_weights(), before) == 0
    assert model.optimizer.dynamic_scale.numpy() == 2**13
    assert model.optimizer.iterations.numpy() == 1
    model.train_on_batch(x, y)
    assert apart(model.get_weights(), before) > 0
    assert model.optimizer.iterations.numpy() == 2


def test_float16_scales_the_loss_of_its_own_accord():
    model = compiled(small, "mixed_float16")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.mark.parametrize("policy", POLICIES)
def test_kernels_are_standardized_in_float32(policy):
    # A kernel that half precision cannot tell from a constant has a direction all the same.
    kernel = 1 + 1e-4 * np.random.default_rng(0).normal(size=(3, 3, 4, 2)).astype("float32")
    found = []
    for dtype in (policy, "float32"):
        layer = StandardizedConv2D(2, 3, use_bias=False, dtype=dtype)
        layer.build((None, 8, 8, 4))
        layer.kernel.assign(kernel)
        found.append(keras.ops.convert_to_numpy(layer(images(2, 8, 8, 4))).astype("float32"))
    assert relative_error(*found) < 1e-2

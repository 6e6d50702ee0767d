"""The examples of own heads: quickly on two replicas, and in full on one."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import bit_keras

EXAMPLES = Path(__file__).parents[2] / "examples"
HEADS = (
    "discriminative_learning",
    "frozen_body",
    "multi_label",
    "regression",
    "two_heads",
    "weight_decay",
)
# After training in full: (what is printed before the number, its least and largest value).
REACHED = {
    "discriminative_learning": ("DiscriminativeSGD: test accuracy ", 85, 100),
    "frozen_body": ("loops, lower rate: test accuracy ", 85, 100),
    "multi_label": ("found and no other in ", 70, 100),
    "regression": ("mean error ", 0, 12),
    "two_heads": ("test accuracy ", 80, 100),
    "weight_decay": ("weight decay 0.01: test accuracy ", 85, 100),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_a_head_trains_on_two_replicas(name, example, check_picture, mirrored, capsys):
    assert mirrored.num_replicas_in_sync == 2
    example(name, "--steps=1", "--strategy=mirrored").main([])
    assert "loss" in capsys.readouterr().out  # the progress bar
    check_picture(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_a_head_learns(name, example, check_picture, capsys):
    example(name).main([])
    said, least, most = REACHED[name]
    printed = capsys.readouterr().out
    assert least <= float(printed.split(said)[1].split()[0].strip("%,")) <= most, printed
    check_picture(name)


def test_every_example_of_a_head_is_under_60_lines():
    for name in HEADS:
        assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 60, name


# Discriminative learning rates, by hand


def dense_network():
    """Three linear layers, two of them called like blocks."""
    names = ("root_block_conv", "block3_unit01_a_conv", "head")
    x = inputs = keras.Input((4,))
    for seed, name in enumerate(names):
        initializer = keras.initializers.GlorotUniform(seed=seed)
        x = keras.layers.Dense(3, use_bias=False, kernel_initializer=initializer, name=name)(x)
    return bit_keras.Model(inputs, keras.layers.Activation("linear", dtype="float32")(x))


def two_steps_by_hand(kernels, factors, batches, rate, momentum):
    """Momentum SGD on the mean squared error of a product of matrices, in float64."""
    kernels = [np.float64(kernel) for kernel in kernels]
    velocities = [np.zeros_like(kernel) for kernel in kernels]
    for x, y in batches:
        a, b, c = kernels
        error = 2 * (x @ a @ b @ c - y) / y.size
        gradients = [
            x.T @ error @ c.T @ b.T,
            (x @ a).T @ error @ c.T,
            (x @ a @ b).T @ error,
        ]
        for i, gradient in enumerate(gradients):
            velocities[i] = momentum * velocities[i] - factors[i] * rate * gradient
            kernels[i] = kernels[i] + velocities[i]
    return kernels


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(
    ("policy", "tolerance"),  # of the largest change; rounding of activations and gradients
    [("float32", 1e-5), ("mixed_bfloat16", 3e-2), ("mixed_float16", 4e-3)],
)
def test_discriminative_rates_are_those_of_two_steps_by_hand(
    replicas, policy, tolerance, example, mirrored
):
    module = example("discriminative_learning")
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(8, 4)), rng.normal(size=(8, 3))) for _ in range(2)]
    strategy = mirrored if replicas == 2 else tf.distribute.get_strategy()
    keras.config.set_dtype_policy(policy)
    try:
        with strategy.scope():
            model = dense_network()
            model.compile(module.DiscriminativeSGD(1.0, momentum=0.9), "mse")
    finally:
        keras.config.set_dtype_policy("float32")
    before = model.get_weights()
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)

    factors = (2.6**-5, 2.6**-2, 1)
    expected = two_steps_by_hand(before, factors, batches, rate=1.0, momentum=0.9)
    for old, new, right in zip(before, model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(new - old, right - old, atol=tolerance * abs(right - old).max())


def test_all_blocks_of_a_network_have_their_rates(example):
    module = example("discriminative_learning")
    model = bit_keras.ResNetV2((1, 1, 1, 1), 0.5, classes=10)
    outer = bit_keras.Model(inputs := keras.Input((32, 32, 3)), model(inputs))  # as a layer
    for network in (model, outer):
        for variable in network.trainable_variables:
            block = [i for i in (1, 2, 3, 4) if f"block{i}" in variable.path]
            expected = 2.6 ** (block[0] - 5) if block else 1.0
            expected = 2.6**-5 if "root_block" in variable.path else expected
            assert module.factor_of(variable) == expected

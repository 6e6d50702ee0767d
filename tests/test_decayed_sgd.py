"""Coupled weight decay against its formula, and against the loss that it stands for."""

import keras
import numpy as np
import pytest

from bit_keras import DecayedSGD

RATE, MOMENTUM, L2 = 0.1, 0.9, 0.05


def test_the_formula():
    rng = np.random.default_rng(0)
    variables = {name: keras.Variable(rng.normal(size=4), name=name) for name in ("kernel", "bias")}
    expected = {name: np.array(v.value, "float64") for name, v in variables.items()}
    velocity = dict.fromkeys(variables, 0.0)
    optimizer = DecayedSGD(RATE, momentum=MOMENTUM, l2=L2)
    for _ in range(5):
        gradients = {name: rng.normal(size=4).astype("float32") for name in variables}
        optimizer.apply(list(gradients.values()), list(variables.values()))
        for name, gradient in gradients.items():
            decay = L2 * expected[name] if name == "kernel" else 0
            velocity[name] = MOMENTUM * velocity[name] - RATE * (gradient + decay)
            expected[name] = expected[name] + velocity[name]
    for name, variable in variables.items():
        np.testing.assert_allclose(variable.value, expected[name], rtol=1e-5)


def train(optimizer, kernel_regularizer=None):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, activation="tanh", kernel_regularizer=kernel_regularizer)(inputs)
    x = keras.layers.LayerNormalization()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, kernel_regularizer=kernel_regularizer)(x))
    # Without XLA on either side: its other order of operations is not what is compared.
    model.compile(optimizer, keras.losses.MeanSquaredError(), jit_compile=False)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 6)), rng.normal(size=(8, 3))
    history = model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0).history
    return model, history["loss"]


def test_it_is_that_of_an_l2_loss_without_its_report():
    decayed, losses = train(DecayedSGD(RATE, momentum=MOMENTUM, l2=L2))
    stock = keras.optimizers.SGD(RATE, momentum=MOMENTUM)
    regularized, larger = train(stock, keras.regularizers.L2(L2 / 2))
    for a, b in zip(decayed.weights, regularized.weights, strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=1e-4, atol=1e-6)
    assert all(one < other - 0.1 for one, other in zip(losses, larger, strict=True))
    undecayed, _ = train(DecayedSGD(RATE, momentum=MOMENTUM, l2=0.0))
    assert np.abs(decayed.weights[0].value - undecayed.weights[0].value).max() > 1e-3


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_its_configuration(momentum):
    optimizer = DecayedSGD(RATE, momentum=momentum, l2=L2, global_clipnorm=2.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is DecayedSGD
    assert again.get_config() == optimizer.get_config()

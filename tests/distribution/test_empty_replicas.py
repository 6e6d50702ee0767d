"""A batch of fewer samples than replicas: what one process makes of it."""

import keras
import numpy as np
import pytest
from networks import images, randomize, tiny

import bit_keras

X, Y = images(5, 32, 32, 3), np.arange(5) % 3  # in batches of 4: the last has one sample


def network():
    model = randomize(tiny(classes=3, dtype="float64"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float64")
    model.compile(keras.optimizers.SGD(0.01), loss, metrics=["accuracy"])
    return model


def results(model):
    scores = model.evaluate(X, Y, batch_size=4, verbose=0)
    predicted = model.predict(X, batch_size=4, verbose=0)
    model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    return [np.asarray(scores), predicted, *model.get_weights()]


def assert_same(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * np.abs(b).max())


@pytest.mark.slow
def test_of_a_network(mirrored):
    with mirrored.scope():
        model = network()
    assert_same(results(model), results(network()))


@pytest.mark.slow
def test_of_a_head_around_a_network(mirrored):
    def around():
        inputs = keras.Input((32, 32, 3))
        body = network()
        model = bit_keras.Model(inputs, [keras.layers.Dense(2)(body(inputs)), body(inputs)])
        keras.utils.set_random_seed(0)
        model.layers[-1].set_weights([np.ones(shape) for shape in ((3, 2), (2,))])
        return model

    with mirrored.scope():
        shared = around()
        shared.compile()
    found, wanted = (m.predict(X, batch_size=4, verbose=0) for m in (shared, around()))
    assert_same(found, wanted)

"""Trains a new head on a frozen body, then frees the body and trains all at a lower rate.

    python examples/frozen_body.py [--strategy mirrored]

First learns to read digits, in place of pretrained weights, then whether a digit has a loop, as 0,
6, 8 and 9 have. Less than a minute on two cores. Saves frozen_body.png.
"""

import keras
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure
from numpy.linalg import norm
from sklearn.datasets import load_digits

import bit_keras

_STEPS = flags.DEFINE_integer("steps", 100, "Steps of each of three trainings, of 64 images each.")
_STRATEGY = flags.DEFINE_string("strategy", "one", "Name of a bit_keras.strategy.")


def main(_):
    keras.utils.set_random_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.reshape(-1, 8, 8, 1).repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    images = bit_keras.preprocess_input(pixels * 255 / 16)  # shape [1797, 32, 32, 3]
    loops = np.isin(labels, [0, 6, 8, 9]).astype(int)
    chosen = np.random.default_rng(0).integers(1437, size=64 * _STEPS.value)  # not the test images

    strategy = bit_keras.strategy(_STRATEGY.value)
    with strategy.scope():
        reader = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=10)
        model = bit_keras.Model(reader.input, keras.layers.Dense(2)(reader.endpoints["features"]))
    axes = Figure(figsize=(7, 4), layout="constrained").subplots()
    for title, network, y, frozen, rate in (
        ("digits", reader, labels, None, 0.03),
        ("loops, frozen body", model, loops, "features", 0.03),
        ("loops, lower rate", model, loops, None, 0.003),
    ):
        reader.freeze(frozen)
        with strategy.scope():  # compile again: other weights are trainable now
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            network.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
        before = network.get_weights()
        print(f"{title}: {len(network.trainable_weights)} of {len(before)} arrays to train")
        network.fit(images[chosen], y[chosen], batch_size=64)
        right = network.predict(images[1437:], verbose=0).argmax(axis=1) == y[1437:]
        print(label := f"{title}: test accuracy {right.mean():.1%}")
        kernels = zip(before, network.get_weights(), strict=True)
        moved = [norm(new - old) / norm(new) for old, new in kernels if new.ndim > 1]
        axes.plot(moved, "o-", label=label)
    axes.set(xlabel="kernel, from the root to the head", ylabel="norm of change / norm")
    axes.set_title("how far each training moved the kernels")
    axes.legend()
    axes.figure.savefig("frozen_body.png")


if __name__ == "__main__":
    app.run(main)

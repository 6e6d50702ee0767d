"""Trains with and without weight decay, by `kernel_regularizer`, and compares the kernels.

    python examples/weight_decay.py [--strategy mirrored]

The loss gets a penalty: DECAY / 2 times the sum of the squares of all stored kernels. The output of
a standardized convolution does not depend on the scale of its kernel, so there the penalty only
shrinks the kernel, and each step then changes it more. The training starts from random weights and
takes less than a minute on two cores. Saves weight_decay.png.
"""

import keras
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import bit_keras

_STEPS = flags.DEFINE_integer("steps", 150, "Steps of both trainings, of 64 images each.")
_STRATEGY = flags.DEFINE_string("strategy", "one", "Name of a bit_keras.strategy.")

DECAY = 0.01  # BiT pre-trains with 1e-4: so few steps as here would hardly show that


def main(_):
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.reshape(-1, 8, 8, 1).repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    images = bit_keras.preprocess_input(pixels * 255 / 16)  # shape [1797, 32, 32, 3]
    chosen = np.random.default_rng(0).integers(1437, size=64 * _STEPS.value)  # not the test images

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for decay in (0.0, DECAY):
        keras.utils.set_random_seed(0)
        with bit_keras.strategy(_STRATEGY.value).scope():
            penalty = keras.regularizers.L2(decay / 2)  # Keras' L2 has no factor of a half
            model = bit_keras.ResNetV2((1, 1, 1, 1), 0.5, classes=10, kernel_regularizer=penalty)
            rate = keras.optimizers.schedules.CosineDecay(0.03, _STEPS.value)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
        model.fit(images[chosen], labels[chosen], batch_size=64)
        right = model.predict(images[1437:], verbose=0).argmax(axis=1) == labels[1437:]
        norms = [np.linalg.norm(weight) for weight in model.get_weights() if weight.ndim > 1]
        name = f"weight decay {decay:g}: test accuracy {right.mean():.1%}"
        print(f"{name}, norm of all kernels {np.linalg.norm(norms):.1f}")
        axes.plot(norms, "o-", label=name)
    axes.set(xlabel="kernel, from the root to the head", ylabel="norm", title="size of the kernels")
    axes.legend()
    figure.savefig("weight_decay.png")


if __name__ == "__main__":
    app.run(main)

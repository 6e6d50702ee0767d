"""Measures by how many degrees a digit is rotated: regression.

    python examples/regression.py [--strategy mirrored]

The head is a dense layer of one number, the loss the squared error. From random weights;
less than a minute on two cores. Saves regression.png.
"""

import keras
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure
from scipy import ndimage
from sklearn.datasets import load_digits

import bit_keras

_STEPS = flags.DEFINE_integer("steps", 300, "Training steps, of 32 images each.")
_STRATEGY = flags.DEFINE_string("strategy", "one", "Name of a bit_keras.strategy.")

LIMIT = 45  # degrees, in both directions; the network's number is in this unit


def rotated(digits, number):
    """Returns rotated images `[number, 32, 32, 3]`, and by how many degrees."""
    rng = np.random.default_rng(0)
    chosen, angles = rng.integers(len(digits), size=number), rng.uniform(-LIMIT, LIMIT, number)
    large = digits.repeat(4, axis=1).repeat(4, axis=2) * 255 / 16
    pairs = zip(large[chosen], angles, strict=True)
    pixels = [ndimage.rotate(image, angle, reshape=False, order=1) for image, angle in pairs]
    return bit_keras.preprocess_input(np.stack([pixels] * 3, axis=-1)), angles


def main(_):
    keras.utils.set_random_seed(0)
    digits = load_digits().images
    x_train, y_train = rotated(digits[:1437], 32 * _STEPS.value)
    x_test, y_test = rotated(digits[1437:], 360)  # digits of the last writers only

    with bit_keras.strategy(_STRATEGY.value).scope():
        body = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, include_top=False)
        model = bit_keras.Model(body.input, keras.layers.Dense(1)(body.output))
        rate = keras.optimizers.schedules.CosineDecay(0.003, _STEPS.value)
        model.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse")
    model.fit(x_train, y_train / LIMIT, batch_size=32)

    found = LIMIT * model.predict(x_test, verbose=0)[:, 0]
    error, baseline = (np.abs(guess - y_test).mean() for guess in (found, 0))
    print(f"mean error {error:.1f} degrees on test images; always to say 0: {baseline:.1f}")
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(y_test, found, ".", [-LIMIT, LIMIT], [-LIMIT, LIMIT], "k-")
    axes.set(xlabel="true angle (degrees)", ylabel="angle found (degrees)")
    axes.set_title(f"rotation of digits: mean error {error:.1f} degrees")
    figure.savefig("regression.png")


if __name__ == "__main__":
    app.run(main)

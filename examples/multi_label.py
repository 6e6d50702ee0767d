"""Recognizes both digits of a picture: training with several labels for one image.

    python examples/multi_label.py [--strategy mirrored]

Each digit is a question of its own: ten logits, a sigmoid on each, and binary cross-entropy.
From random weights; less than a minute on two cores. Saves multi_label.png.
"""

import keras
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import bit_keras

_STEPS = flags.DEFINE_integer("steps", 300, "Training steps, of 32 images each.")
_STRATEGY = flags.DEFINE_string("strategy", "one", "Name of a bit_keras.strategy.")


def pairs(images, labels, number):
    """Returns images of two digits side by side, and a 1 for each digit that they hold."""
    chosen = np.random.default_rng(0).integers(len(images), size=(number, 2))
    return np.concatenate(images[chosen.T], axis=2), np.eye(10)[labels[chosen]].max(axis=1)


def main(_):
    keras.utils.set_random_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.reshape(-1, 8, 8, 1).repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    images = bit_keras.preprocess_input(pixels * 255 / 16)  # shape [1797, 32, 32, 3]
    x_train, y_train = pairs(images[:1437], labels[:1437], 32 * _STEPS.value)
    x_test, y_test = pairs(images[1437:], labels[1437:], 360)  # digits of the last writers only
    print(f"{len(x_train)} pictures of two digits to train on, {len(x_test)} to test on")

    with bit_keras.strategy(_STRATEGY.value).scope():
        body = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, include_top=False)
        model = bit_keras.Model(body.input, keras.layers.Dense(10)(body.output))
        rate = keras.optimizers.schedules.CosineDecay(0.1, _STEPS.value)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
    model.fit(x_train, y_train, batch_size=32)

    found = model.predict(x_test, verbose=0) > 0  # a logit of 0 is even odds
    right = (found == y_test).all(axis=1)
    print(f"both digits found and no other in {right.mean():.1%} of the test pictures")
    figure = Figure(figsize=(8, 6), layout="constrained")
    figure.suptitle("digits found (red: wrong)")
    for i, axes in enumerate(figure.subplots(4, 4).flat):
        axes.imshow(x_test[i] / 2 + 0.5)
        digits = " and ".join(map(str, np.flatnonzero(found[i]))) or "none"
        axes.set_title(digits, color="green" if right[i] else "red")
        axes.axis("off")
    figure.savefig("multi_label.png")


if __name__ == "__main__":
    app.run(main)

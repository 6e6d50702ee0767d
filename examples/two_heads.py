"""Reads a turned digit and says how far it is turned: two outputs, two losses.

    python examples/two_heads.py [--strategy mirrored]

`fit` minimizes the sum of the heads' losses, of which that of the turn weighs half. From random
weights; less than a minute on two cores. Saves two_heads.png.
"""

import keras
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import bit_keras

_STEPS = flags.DEFINE_integer("steps", 300, "Training steps, of 64 images each.")
_STRATEGY = flags.DEFINE_string("strategy", "one", "Name of a bit_keras.strategy.")


def turned(images, labels, number):
    """Returns images turned by 0 to 3 quarters, and their labels for each head."""
    rng = np.random.default_rng(0)
    chosen, turns = rng.integers(len(images), size=number), rng.integers(4, size=number)
    x = np.array([np.rot90(images[i], turn) for i, turn in zip(chosen, turns, strict=True)])
    return x, {"digit": labels[chosen], "turn": turns}


def main(_):
    keras.utils.set_random_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.reshape(-1, 8, 8, 1).repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    images = bit_keras.preprocess_input(pixels * 255 / 16)  # shape [1797, 32, 32, 3]
    x_train, y_train = turned(images[:1437], labels[:1437], 64 * _STEPS.value)
    x_test, y_test = turned(images[1437:], labels[1437:], 360)  # digits of the last writers only
    with bit_keras.strategy(_STRATEGY.value).scope():
        body = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, include_top=False)
        heads = {"digit": keras.layers.Dense(10), "turn": keras.layers.Dense(4)}
        model = bit_keras.Model(body.input, {name: heads[name](body.output) for name in heads})
        rate = keras.optimizers.schedules.CosineDecay(0.03, _STEPS.value)
        loss = {n: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for n in heads}
        optimizer = keras.optimizers.SGD(rate, momentum=0.9)
        model.compile(optimizer, loss, loss_weights={"digit": 1.0, "turn": 0.5})
    model.fit(x_train, y_train, batch_size=64)
    said = {name: x.argmax(axis=1) for name, x in model.predict(x_test, verbose=0).items()}
    right = {name: said[name] == y_test[name] for name in heads}
    print(*(f"test accuracy {right[name].mean():.1%} ({name})" for name in heads), sep="\n")
    figure = Figure(figsize=(9, 6), layout="constrained")
    figure.suptitle("digit and turn as read (red: either is wrong)")
    for i, axes in enumerate(figure.subplots(4, 6).flat):
        axes.imshow(x_test[i] / 2 + 0.5)
        title = f"{said['digit'][i]}, {90 * said['turn'][i]}°"
        axes.set_title(title, color="green" if all(right[n][i] for n in heads) else "red")
        axes.axis("off")
    figure.savefig("two_heads.png")


if __name__ == "__main__":
    app.run(main)

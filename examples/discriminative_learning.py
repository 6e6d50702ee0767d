"""Fine-tunes with a learning rate that is lower the farther a layer is from the head.

    python examples/discriminative_learning.py [--strategy mirrored]

Learns white digits, in place of pretrained weights, then black ones, in a minute on two cores.
"""

import keras
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import bit_keras

_STEPS = flags.DEFINE_integer("steps", 100, "Steps of both trainings, of 64 images each.")
_STRATEGY = flags.DEFINE_string("strategy", "one", "Name of a bit_keras.strategy.")
# The factor of a block is 1/2.6 of the next block's (arXiv 1801.06146, section 3.2).
FACTORS = {"root": 2.6**-5} | {f"block{i}": 2.6 ** (i - 5) for i in (1, 2, 3, 4)}


def factor_of(variable):  # Its path is, for example, block3_unit01_a_standardized_conv2d/kernel.
    return FACTORS.get(variable.path.split("/")[-2].split("_")[0], 1.0)


class DiscriminativeSGD(keras.optimizers.SGD):
    """SGD that multiplies the learning rate by a factor for the part of the network."""

    def apply(self, grads, trainable_variables=None):
        # A step of SGD is proportional to its gradients, so they are multiplied by the factor.
        grads = [factor_of(v) * grad for v, grad in zip(trainable_variables, grads, strict=True)]
        super().apply(grads, trainable_variables)


def main(_):
    keras.utils.set_random_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.reshape(-1, 8, 8, 1).repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    images = bit_keras.preprocess_input(pixels * 255 / 16)  # shape [1797, 32, 32, 3]
    chosen = np.random.default_rng(0).integers(1437, size=64 * _STEPS.value)  # not the test images
    with bit_keras.strategy(_STRATEGY.value).scope():
        model = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=10)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        for optimizer, x in ((keras.optimizers.SGD, images), (DiscriminativeSGD, -images)):
            before = model.get_weights()
            model.compile(optimizer(0.03, momentum=0.9), loss, metrics=["accuracy"])
            model.fit(x[chosen], labels[chosen], batch_size=64)
            _, right = model.evaluate(x[1437:], labels[1437:], verbose=0)
            print(f"{optimizer.__name__}: test accuracy {right:.1%}")
    pairs = zip(before, model.get_weights(), strict=True)
    moved = [np.linalg.norm(new - old) / np.linalg.norm(new) for old, new in pairs if new.ndim > 1]
    axes = Figure(figsize=(7, 4), layout="constrained").subplots()
    axes.bar(range(len(moved)), moved)
    axes.set(xlabel="kernel, root to head", ylabel="change / norm", title="change by fine-tuning")
    axes.figure.savefig("discriminative_learning.png")


if __name__ == "__main__":
    app.run(main)

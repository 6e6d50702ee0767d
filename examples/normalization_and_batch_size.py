"""Compares group and batch normalization, pre-trained in large and in small batches.

    python examples/normalization_and_batch_size.py

Four small networks, with group or batch normalization, with and without weight standardization,
are pre-trained on five classes of Fashion-MNIST in large and in small batches, over equally many
images at a learning rate that is linear in the batch. Each is then fine-tuned on a few images a
class of the other five classes, beside the same network from random weights. This is an analogue
of section 4.3 of the paper (arXiv 1912.11370) on a far smaller scale, not a reproduction.

It needs 22 minutes of processor time, and took 43 minutes on two cores with much other work. If it
was stopped, the same command continues. It writes results.json, table.md and
normalization_and_batch_size.png. Fashion-MNIST (MIT licence) is read from Debian's package
dataset-fashion-mnist where that is installed, and else downloaded by Keras (30 MB).
"""

import gzip
import json
import os
from pathlib import Path

import keras
import numpy as np
from absl import app, flags
from normalization.results import picture, table
from tqdm import tqdm

import bit_keras

_IMAGES = flags.DEFINE_integer("images", 9_600, "Images seen in each pre-training.")
_LARGE = flags.DEFINE_integer("large_batch", 128, "Images in a large batch.")
_SMALL = flags.DEFINE_integer("small_batch", 8, "Images in a small batch.")
_RATE = flags.DEFINE_float("rate", 0.06, "Learning rate of pre-training, for 128 images a batch.")
_SHOTS = flags.DEFINE_list("shots", ["5", "10"], "Images a class to fine-tune on.")
_STEPS = flags.DEFINE_integer("steps", 60, "Steps of fine-tuning, of 25 images each.")
_TRANSFER_RATE = flags.DEFINE_float("transfer_rate", 0.03, "Learning rate of fine-tuning.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Seeds; each repeats all trainings.")
_DATA = flags.DEFINE_string(
    "fashion_mnist", "/usr/share/datasets/fashion-mnist", "Directory of the files *-ubyte.gz."
)
_OUTPUT = flags.DEFINE_string("output", "normalization_results", "Directory for the results.")

# Names of the flags that change the numbers of a run; the seed changes them too.
SETTINGS = ("images", "large_batch", "small_batch", "rate", "shots", "steps", "transfer_rate")
NETWORKS = {  # normalization, standardize
    "GN+WS": ("group", True),
    "GN": ("group", False),
    "BN+WS": ("batch", True),
    "BN": ("batch", False),
}
FEW_SHOT_BATCH = 25
TEST_IMAGES = 2_000  # of each half of the classes; all networks are tested on the same images
# Momentum of batch normalization's running statistics, as in PyTorch's ResNets. Keras' default of
# 0.99 needs several hundred steps to forget the initial values, and a run here has fewer.
BATCH_MOMENTUM = 0.9


def main(_):
    folder = Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {name: flags.FLAGS[name].value for name in SETTINGS}
    results = read_results(folder / "results.json", settings)
    source, target = halves(*fashion_mnist(Path(_DATA.value)))
    print(
        f"pre-training on {len(source[0][0])} images of classes 0 to 4, fine-tuning on "
        f"{' or '.join(_SHOTS.value)} images each of classes 5 to 9"
    )
    todo = [
        (network, seed)
        for network in NETWORKS
        for seed in map(int, _SEEDS.value)
        if not any((run["network"], run["seed"]) == (network, seed) for run in results["runs"])
    ]
    recipes = {}
    for network, seed in tqdm(todo, desc="networks x seeds", unit="run"):
        if network not in recipes:
            recipes = {network: recipes_of(network)}  # drops the networks of earlier rows
        results["runs"] += run(network, seed, recipes[network], source, target)
        write_whole(folder / "results.json", json.dumps(results, indent=1))

    text = table(results["runs"])
    write_whole(folder / "table.md", text)
    print(text)
    picture(results["runs"]).savefig(folder / "normalization_and_batch_size.png", dpi=100)
    print(f"written to {folder}: results.json, table.md, normalization_and_batch_size.png")


def fashion_mnist(folder):
    """Returns (images, labels) to train on and to test on, uint8 `[n, 28, 28]` and `[n]`."""
    if not folder.is_dir():
        return keras.datasets.fashion_mnist.load_data()

    def read(name, header, *shape):
        with gzip.open(folder / name) as file:
            return np.frombuffer(file.read(), "uint8", offset=header).reshape(-1, *shape)

    return tuple(
        (
            read(f"{split}-images-idx3-ubyte.gz", 16, 28, 28),
            read(f"{split}-labels-idx1-ubyte.gz", 8),
        )
        for split in ("train", "t10k")
    )


def halves(train, test):
    """Returns classes 0 to 4 and classes 5 to 9, each as (images, labels) to train and to test."""

    def half(split, first, limit=None):
        images, labels = split
        chosen = np.flatnonzero(labels // 5 == first // 5)[:limit]
        return bit_keras.preprocess_input(images[chosen, ..., np.newaxis]), labels[chosen] - first

    return tuple((half(train, first), half(test, first, TEST_IMAGES)) for first in (0, 5))


def build(network):
    normalization, standardize = NETWORKS[network]
    return bit_keras.ResNetV2(
        depths=(1, 1, 1, 1),
        width=0.5,
        classes=5,
        input_shape=(28, 28, 1),
        normalization=normalization,
        standardize=standardize,
    )


class Recipe:
    """A training of fixed length, compiled once: weights go in and come out."""

    def __init__(self, network, batch_size, steps, rate, batch_momentum=BATCH_MOMENTUM):
        self.batch_size, self.images = batch_size, batch_size * steps
        self.model = build(network)
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = batch_momentum
        warmup = max(1, steps // 10)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
        self.model.compile(
            keras.optimizers.SGD(rate, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,  # XLA was slower at both batch sizes on CPU
        )
        self.model.optimizer.build(self.model.trainable_variables)

    def train(self, weights, images, labels, rng):
        """Trains from the given weights, on images in random order, and returns the new weights."""
        self.model.set_weights(weights)
        for variable in self.model.optimizer.variables:
            variable.assign(np.zeros(variable.shape))
        epochs = -(-self.images // len(images))
        order = np.concatenate([rng.permutation(len(images)) for _ in range(epochs)])
        order = order[: self.images]
        self.model.fit(
            images[order], labels[order], batch_size=self.batch_size, shuffle=False, verbose=0
        )
        return self.model.get_weights()

    def accuracy(self, weights, images, labels):
        self.model.set_weights(weights)
        logits = self.model.predict(images, batch_size=500, verbose=0)
        return float(np.mean(logits.argmax(axis=1) == labels))


def recipes_of(network):
    """Returns the two pre-trainings by their batch size, and the fine-tuning."""
    upstream = {}
    for batch in (_LARGE.value, _SMALL.value):
        part = batch / 128
        # The momentum makes the running statistics cover equally many images at both batch sizes.
        upstream[batch] = Recipe(
            network,
            batch,
            steps=_IMAGES.value // batch,
            rate=_RATE.value * part,
            batch_momentum=BATCH_MOMENTUM**part,
        )
    return upstream, Recipe(network, FEW_SHOT_BATCH, _STEPS.value, _TRANSFER_RATE.value)


def run(network, seed, recipes, source, target):
    """Returns the accuracies of a network from random weights and after each pre-training."""
    upstream, downstream = recipes
    keras.utils.set_random_seed(seed)
    fresh = build(network).get_weights()
    starts, source_accuracies = {"none": fresh}, {"none": None}
    for batch, recipe in upstream.items():
        weights = recipe.train(fresh, *source[0], np.random.default_rng(seed))
        starts[f"batches of {batch}"] = weights
        source_accuracies[f"batches of {batch}"] = downstream.accuracy(weights, *source[1])
    (images, labels), test = target
    accuracies = {start: {} for start in starts}
    for shots in map(int, _SHOTS.value):
        rng = np.random.default_rng([seed, shots])
        by_class = [rng.permutation(np.flatnonzero(labels == label))[:shots] for label in range(5)]
        few = np.concatenate(by_class)
        for start, weights in starts.items():
            # The head comes last, kernel and bias; a new one is zero.
            weights = [*weights[:-2], *(np.zeros_like(weight) for weight in weights[-2:])]
            weights = downstream.train(
                weights, images[few], labels[few], np.random.default_rng(seed)
            )
            accuracies[start][str(shots)] = downstream.accuracy(weights, *test)
    return [
        {
            "network": network,
            "seed": seed,
            "pre-training": start,
            "source accuracy": source_accuracies[start],
            "target accuracy": accuracies[start],
        }
        for start in starts
    ]


def read_results(path, settings):
    """Returns the results of an earlier start of the program, or empty results."""
    if not path.exists():
        return {"settings": settings, "runs": []}
    results = json.loads(path.read_text())
    if results["settings"] != settings:
        raise SystemExit(f"{path} is from other settings. Name another --output, or remove it.")
    return results


def write_whole(path, text):
    """Writes a file in one step, so that a stop leaves the old one or the new one."""
    temporary = path.with_suffix(".partial")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)


if __name__ == "__main__":
    app.run(main)

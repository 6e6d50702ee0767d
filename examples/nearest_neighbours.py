"""Finds, for test images, the training images whose features are nearest.

    python examples/nearest_neighbours.py
    python examples/nearest_neighbours.py --model runs/R14x0.5-digits/model.keras

The features are what a network's head would see, here by the cosine between them. Without --model
a small network is trained first; less than a minute on two cores. Saves nearest_neighbours.png.
"""

import keras
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

import bit_keras

_MODEL = flags.DEFINE_string("model", None, "A network of this package, as a .keras file.")
_STEPS = flags.DEFINE_integer("steps", 150, "Training steps without --model, of 64 images each.")

QUERIES, NEIGHBOURS = 6, 5  # test images, and neighbours of each, in the picture


def digits(examples):
    """Returns a task's digits as float32 images `[m, 32, 32, 3]` in [-1, 1], and their labels."""
    images = np.stack([example["image"] for example in examples.dataset().as_numpy_iterator()])
    return bit_keras.preprocess_input(images.repeat(4, axis=1).repeat(4, axis=2)), examples.labels


def train(images, labels, steps):
    """Returns a small network that was trained from random weights."""
    model = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=10)
    model.compile(
        keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.03, steps), momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    chosen = np.random.default_rng(0).integers(len(images), size=64 * steps)
    model.fit(images[chosen], labels[chosen], batch_size=64)
    return model


def nearest(queries, candidates, number):
    """Returns the positions of the candidates nearest to each query, by cosine, nearest first."""
    queries, candidates = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, candidates)
    )
    return np.argsort(-queries @ candidates.T, axis=1)[:, :number]


def main(_):
    keras.utils.set_random_seed(0)
    task = bit_keras.task("digits")
    (train_images, train_labels), (test_images, test_labels) = digits(task.train), digits(task.test)

    if _MODEL.value:
        model = keras.models.load_model(_MODEL.value)
    else:
        model = train(train_images, train_labels, _STEPS.value)
    print(f"features of {len(train_images) + len(test_images)} images")
    network = keras.Model(model.input, model.endpoints["features"])
    found = nearest(network.predict(test_images), network.predict(train_images), NEIGHBOURS)
    recall = np.mean(train_labels[found[:, 0]] == test_labels)
    ink = (images.reshape(len(images), -1) + 1 for images in (test_images, train_images))
    of_pixels = nearest(*ink, 1)
    baseline = np.mean(train_labels[of_pixels[:, 0]] == test_labels)
    print(f"recall@1 {recall:.1%}: so many test images have a nearest neighbour of their class")
    print(f"by the cosine of the pixels it is {baseline:.1%}")

    figure = Figure(figsize=(8, 8), layout="constrained")
    figure.suptitle(f"test images and the training images nearest to them; recall@1 {recall:.1%}")
    grid = figure.subplots(QUERIES, 1 + NEIGHBOURS)
    for row, query in zip(
        grid, np.linspace(0, len(test_images) - 1, QUERIES).astype(int), strict=True
    ):
        row[0].imshow(test_images[query] / 2 + 0.5)
        row[0].set_title(f"a {test_labels[query]}", fontweight="bold")
        for axes, neighbour in zip(row[1:], found[query], strict=True):
            axes.imshow(train_images[neighbour] / 2 + 0.5)
            good = train_labels[neighbour] == test_labels[query]
            axes.set_title(train_labels[neighbour], color="green" if good else "red")
        for axes in row:
            axes.axis("off")
    figure.savefig("nearest_neighbours.png")


if __name__ == "__main__":
    app.run(main)

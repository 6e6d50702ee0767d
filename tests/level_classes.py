"""Classes that a network without training tells apart: each is a grey level with a name."""

import keras
import numpy as np
from array_tasks import array_examples
from PIL import Image

import bit_keras
from bit_keras.data.tasks import Task

SIDE = 8


def level(place):
    """The grey of a class, 0 to 255: distinct for up to 20 classes."""
    return 12 * place + 6


def level_network(places, model=bit_keras.Model):
    """Returns a network whose logit k is the largest for images of the grey `level(places[k])`."""
    images = keras.Input((None, None, 3))
    features = keras.layers.GlobalAveragePooling2D()(images)
    head = keras.layers.Dense(len(places))
    network = model(images, head(features), name="levels")
    centres = np.array([level(place) for place in places]) / 127.5 - 1
    # -(x - c)^2 without the x^2 that all logits share; x is the mean of three channels.
    head.set_weights([100 * np.tile(2 * centres / 3, (3, 1)), -100 * centres**2])
    return network


def level_task(places, names, image_places, name="levels"):
    """Returns a task of images `level(place)`, whose label is the class at `places[label]`."""
    labels = np.array([places.index(place) for place in image_places])
    grey = np.array([level(place) for place in image_places], "uint8")
    images = np.broadcast_to(grey[:, None, None, None], (len(grey), SIDE, SIDE, 3))
    examples = array_examples(images, labels)
    return Task(name, tuple(names), (SIDE, SIDE), examples, examples, flip=False)


def level_folder(root, classes, count=5):
    """Writes a folder of images for each class, {name of the folder: place}."""
    for name, place in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            image = Image.new("RGB", (SIDE, SIDE), (level(place),) * 3)
            image.save(root / name / f"{place}-{index}.png")
    return f"folder:{root}"


def rule(task):
    """Returns a rule of one step, which leaves the weights of `level_network` nearly the same."""
    found = bit_keras.HyperRule.for_task(task.num_examples, task.image_size)
    return found.scaled(steps=1, batch_size=4, base_lr=1e-9, resize=SIDE, crop=SIDE)

"""The task "clipart": public domain drawings inside the package, which need no download."""

from __future__ import annotations

import functools
import importlib.resources
import io

import numpy as np
from PIL import Image

from bit_keras.data.array_examples import array_examples
from bit_keras.data.tasks import Task

# `examples/upstream/clipart.py` makes this file, and says what is in it.
FILE = "clipart.npz"

SIDE = 64


def load(name: str) -> Task:
    """Returns the clip art task: 745 training and 284 test pictures of 64x64 pixels in 20 classes.

    They are drawings from openclipart on white, at least 25 to train on and 10 to test on in each
    class. Pictures of one series are on the same side of the split. See
    `bit_keras/data/CLIPART-LICENSE.txt`: all of them are in the public domain.

    Args:
        name: the task's name.
    """
    class_names, sources, images = read()
    labels = np.array([class_names.index(source.split("/")[1]) for source in sources], np.int64)
    is_test = np.array([source.startswith("test/") for source in sources])
    return Task(
        name=name,
        class_names=class_names,
        image_size=(SIDE, SIDE),
        train=array_examples(images[~is_test], labels[~is_test]),
        test=array_examples(images[is_test], labels[is_test]),
    )


@functools.cache
def read() -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray]:
    """Returns the class names, the sources and the pictures, uint8 `[N, 64, 64, 3]`.

    A source is the side of the split, the class, and the path of the original picture below
    `/usr/share/openclipart/png`, such as "train/bird/animals/birds/crow_01.png".
    """
    file = importlib.resources.files("bit_keras.data").joinpath(FILE)
    with np.load(io.BytesIO(file.read_bytes())) as content:
        class_names, sources = content["class_names"].tolist(), content["sources"].tolist()
        encoded, ends = content["png"].tobytes(), content["ends"].tolist()
    pictures = [
        np.asarray(Image.open(io.BytesIO(encoded[start:end])).convert("RGB"))
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    return tuple(class_names), tuple(sources), np.stack(pictures)

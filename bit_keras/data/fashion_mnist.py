"""The task "fashion_mnist": from Debian's package dataset-fashion-mnist, or from TFDS."""

from __future__ import annotations

import dataclasses
import gzip
import os
from pathlib import Path

import numpy as np

from bit_keras.data.array_examples import array_examples
from bit_keras.data.tasks import Task

# Where Debian's package puts the four files.
FOLDER = "/usr/share/datasets/fashion-mnist"

# From the table in the data set's README (https://github.com/zalandoresearch/fashion-mnist); TFDS
# has the same names.
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_SIDE = 28

# The IDX format (http://yann.lecun.com/exdb/mnist): a magic number, the sizes of the dimensions,
# all in 4 bytes with the highest first, and the values in a byte each.
_IMAGES_MAGIC, _LABELS_MAGIC = 0x803, 0x801


def load(name: str, *, data_dir: str | os.PathLike | None = None) -> Task:
    """Returns Fashion-MNIST: 60000 training and 10000 test images of 28x28 pixels in 10 classes.

    They are read from the files of Debian's package, where it is installed, and otherwise from
    TFDS, which downloads them at their first use. The grey images become RGB.

    Args:
        name: the task's name.
        data_dir: the folder of the files "train-images-idx3-ubyte.gz" and so on, or the directory
            in which TFDS keeps its datasets; None is `/usr/share/datasets/fashion-mnist`, or that
            of TFDS.

    Raises:
        OSError: the data is neither installed nor can be downloaded.
        ValueError: a file has another content.
    """
    folder = Path(os.path.expanduser(data_dir or FOLDER))
    if not (folder / _file("train", "images")).exists():
        return _from_tfds(name, data_dir)
    return Task(
        name=name,
        class_names=CLASS_NAMES,
        image_size=(_SIDE, _SIDE),
        train=array_examples(*_read(folder, "train")),
        test=array_examples(*_read(folder, "t10k")),
    )


def _file(split: str, kind: str) -> str:
    return f"{split}-{kind}-idx{3 if kind == 'images' else 1}-ubyte.gz"


def _read(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images of a split, uint8 `[N, 28, 28, 1]`, and its labels, int64 `[N]`."""
    images = _values(folder / _file(split, "images"), _IMAGES_MAGIC, 3)
    labels = _values(folder / _file(split, "labels"), _LABELS_MAGIC, 1)
    if images.shape != (len(labels), _SIDE, _SIDE):
        raise ValueError(
            f"{folder / _file(split, 'images')} has images of the shape {images.shape}; expected "
            f"{(len(labels), _SIDE, _SIDE)}. Install the files again: apt-get install --reinstall "
            "dataset-fashion-mnist"
        )
    return images[..., np.newaxis], labels.astype(np.int64)


def _values(path: Path, magic: int, dimensions: int) -> np.ndarray:
    content = gzip.decompress(path.read_bytes())
    header = np.frombuffer(content[: 4 * (1 + dimensions)], ">u4")
    values = np.frombuffer(content, np.uint8, offset=header.nbytes)
    if not len(header) or header[0] != magic or values.size != np.prod(header[1:]):
        raise ValueError(
            f"{path} is not a file of Fashion-MNIST: expected the IDX format with the magic number "
            f"{magic:#x} and {dimensions} dimensions. Install the files again: apt-get install "
            "--reinstall dataset-fashion-mnist"
        )
    return values.reshape(header[1:])


def _from_tfds(name: str, data_dir: str | os.PathLike | None) -> Task:
    # TFDS is imported only where it is needed: that takes seconds.
    from bit_keras.data import tfds_builder, tfds_tasks

    try:
        builder = tfds_builder.prepared(name, "fashion_mnist:3.*.*", data_dir)
    except OSError as error:
        raise OSError(
            f"{error}\nOr install Fashion-MNIST as a package: apt-get install dataset-fashion-mnist"
        ) from error
    reading = tfds_tasks.Reading("image", tfds_tasks.class_label(builder.info, "label"))
    task = tfds_tasks.build(name, builder, "train", "test", reading, (_SIDE, _SIDE))
    return dataclasses.replace(task, class_names=CLASS_NAMES)

"""The task "labels:FILE": lists of images and their labels, which may have millions of images."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from bit_keras.data import subsets
from bit_keras.data.corrupt_images import decode_all
from bit_keras.data.decoding import colour_of
from bit_keras.data.examples import Examples
from bit_keras.data.image_files import not_regular
from bit_keras.data.tasks import TYPICAL_SIZE, Task
from bit_keras.utils.regular_file import check_regular_file
from bit_keras.utils.text_file import read_text


@dataclasses.dataclass(frozen=True, eq=False)
class ImageList:
    """The paths of images, and the labels of each image: none, one or several.

    Attributes:
        root: the folder that the paths are relative to.
        paths: the paths, bytes, relative to the root or absolute.
        labels: int64, the labels of all images, one image after the other.
        counts: int64 `[num_images]`, the number of labels of each image.
        class_names: a name for each label.
    """

    root: Path
    paths: list[bytes]
    labels: np.ndarray
    counts: np.ndarray
    class_names: tuple[str, ...]

    @property
    def single_labels(self) -> np.ndarray | None:
        """The labels, `[num_images]`, if each image has exactly one; otherwise None."""
        return self.labels if (self.counts == 1).all() else None

    @cached_property
    def digest(self) -> str:
        """The sha256 of the images' labels and of their paths relative to the list's folder."""
        digest = hashlib.sha256(b"\n".join(self.paths))
        digest.update(self.labels.tobytes())
        digest.update(self.counts.tobytes())
        return digest.hexdigest()

    def elements(self) -> tf.data.Dataset:
        """Returns a dataset of dicts with the keys "path" and "label", in the order of the list.

        The label is a scalar if each image has exactly one label, otherwise a vector.
        """
        root = os.fsencode(self.root / "x")[:-1]
        labels = self.single_labels
        if labels is None:
            labels = tf.RaggedTensor.from_row_lengths(self.labels, self.counts)

        def element(path: tf.Tensor, label: tf.Tensor) -> dict[str, tf.Tensor]:
            is_absolute = tf.strings.substr(path, 0, 1) == "/"
            return {"path": tf.where(is_absolute, path, root + path), "label": label}

        return tf.data.Dataset.from_tensor_slices((self.paths, labels)).map(element)

    def examples(self) -> Examples:
        """Returns the listed images as the examples of a task, in the order of their list."""
        return Examples(
            num_examples=len(self.paths),
            elements=self.elements,
            read=lambda element: {
                "image": tf.io.read_file(element["path"]),
                "label": element["label"],
            },
            labels=self.single_labels,
        )

    def without_corrupt(self) -> ImageList:
        """Decodes every image; returns the list without the corrupt ones, each with a warning."""
        sizes = decode_all(self._files(), skip_corrupt=True)
        whole = np.array([size is not None for size in sizes])
        return dataclasses.replace(
            self,
            paths=list(itertools.compress(self.paths, whole)),
            labels=self.labels[np.repeat(whole, self.counts)],
            counts=self.counts[whole],
        )

    def check_regular(self) -> None:
        """Raises a ValueError if a path is not a regular file: reading a FIFO would never end."""
        wrong = not_regular(self._files())
        if wrong:
            raise ValueError(
                f"{len(wrong)} of {len(self.paths)} images are not regular files, such as "
                f"{wrong[0]}: expected files of images. Remove them, or leave them out with "
                "skip_corrupt=True (--skip_corrupt)."
            )

    def _files(self) -> list[str]:
        return [os.path.join(self.root, os.fsdecode(path)) for path in self.paths]


def load(name: str, file: str, *, skip_corrupt: bool = False, background: str = "white") -> Task:
    """Returns the task of a text file that lists images and their labels: see `read_list`.

    A tenth of the images, at most 51 200, are the test split, which is always the same.

    Args:
        name: the task's name.
        file: the path of the list; `~` is the home directory.
        skip_corrupt: if True, open every image once, and leave out the images that cannot be
            decoded, with a warning for each.
        background: the colour behind transparent pixels: a name or a code such as "#ff8000".

    Raises:
        ValueError: the file is not such a list.
        OSError: there is no such file.
    """
    file = Path(file).expanduser()
    try:
        check_regular_file(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no file {file}. {_LINES}") from None
    return task_of_list(name, read_list(file), skip_corrupt, background)


def task_of_list(name: str, listing: ImageList, skip_corrupt: bool, background: str) -> Task:
    """Returns the task of a list of images; a part of the images becomes the test split.

    Args:
        name: the task's name.
        listing: the images.
        skip_corrupt, background: as for `load`.
    """
    background = colour_of(background)
    if skip_corrupt:
        listing = listing.without_corrupt()
    else:
        listing.check_regular()
    examples = listing.examples()
    everything = Task(
        name,
        listing.class_names,
        TYPICAL_SIZE,
        train=examples,
        test=examples,
        several_labels=listing.single_labels is None,
        background=background,
        source=f"list sha256: {listing.digest}",
    )
    return subsets.with_test_split(everything)


def read_list(file: Path) -> ImageList:
    """Reads a text file that lists images and their labels.

    Each line is the path of an image, relative to the folder of the file, and the names of its
    labels, with tabs between them. An image may have no labels. The classes are all names, sorted.
    Spaces around a name are removed, and blank lines are ignored.

    Raises:
        OSError: there is no such file.
        ValueError: the file is not such a list, lists an image twice, or its first image does not
            exist.
    """
    rows = _rows(file, read_text(file).split("\n"))
    names = sorted({name for _, *of_image in rows for name in of_image})
    if len(rows) < 2 or len(names) < 2:
        raise ValueError(
            f"{file} lists {len(rows)} images with {len(names)} classes; expected at least two of "
            f"each. {_LINES}"
        )
    if not (file.parent / rows[0][0]).is_file():
        raise ValueError(
            f"{file} begins with {rows[0][0]!r}, but there is no file {file.parent / rows[0][0]}. "
            f"{_LINES}"
        )
    number = {name: i for i, name in enumerate(names)}
    of_images = [sorted({number[name] for name in of_image}) for _, *of_image in rows]
    return ImageList(
        file.parent,
        [os.fsencode(path) for path, *_ in rows],
        np.array([label for labels in of_images for label in labels], np.int64),
        np.array([len(labels) for labels in of_images], np.int64),
        tuple(names),
    )


def _rows(file: Path, lines: list[str]) -> list[list[str]]:
    """Splits each line of a list into a path and label names; a mistake raises a ValueError."""
    rows, line_of = [], {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        path, *names = line.split("\t")
        names = [name.strip() for name in names]
        if not all((path, *names)):
            raise ValueError(
                f"{file}, line {number}: {line!r} has a tab with nothing before or after it. "
                f"{_LINES}"
            )
        first = line_of.setdefault(os.path.normpath(os.path.join(file.parent, path)), number)
        if first != number:
            raise ValueError(
                f"{file} lists {path} in line {first} and in line {number}. Write each image once, "
                "with all of its labels, because a repeated image could be in both the training "
                "and the test split."
            )
        rows.append([path, *names])
    return rows


_LINES = (
    "Each line must be the path of an image, relative to the folder of this file, and the names of "
    "its labels, with tabs between them."
)

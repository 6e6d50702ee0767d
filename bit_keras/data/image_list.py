"""Images by a list of their paths and labels: of millions of files, none is opened."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from bit_keras.data.decodable import decode_all

# What tf.io.decode_image reads, of what folders of images hold. (ImageNet's files are .JPEG.)
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


@dataclasses.dataclass(frozen=True, eq=False)
class ImageList:
    """Paths of images and their labels.

    Attributes:
        root: the folder that the paths begin in.
        paths: bytes `[num_images]`, relative to the root, or absolute.
        labels: int64, those of all images one after the other.
        counts: int64 `[num_images]`, how many of them each image has.
        class_names: a name for each label.
    """

    root: Path
    paths: list[bytes]
    labels: np.ndarray
    counts: np.ndarray
    class_names: tuple[str, ...]

    @property
    def single_labels(self) -> np.ndarray | None:
        """The labels, `[num_images]`, if each image has one; else None."""
        return self.labels if (self.counts == 1).all() else None

    @cached_property
    def digest(self) -> str:
        """Tells another choice of files or labels, wherever the folder lies."""
        digest = hashlib.sha256(b"\n".join(self.paths))
        digest.update(self.labels.tobytes())
        digest.update(self.counts.tobytes())
        return digest.hexdigest()

    def elements(self) -> tf.data.Dataset:
        """Returns `{"path", "label"}` in the order of the list; a label is a scalar or a vector."""
        root = os.fsencode(self.root / "x")[:-1]
        single = self.single_labels
        labels = (
            single
            if single is not None
            else tf.RaggedTensor.from_row_lengths(self.labels, self.counts)
        )

        def element(path: tf.Tensor, label: tf.Tensor) -> dict[str, tf.Tensor]:
            is_absolute = tf.strings.substr(path, 0, 1) == "/"
            return {"path": tf.where(is_absolute, path, root + path), "label": label}

        return tf.data.Dataset.from_tensor_slices((self.paths, labels)).map(element)

    def without_corrupt(self) -> ImageList:
        """Returns those that can be decoded, with a warning for each other; opens all files."""
        files = [os.path.join(self.root, os.fsdecode(path)) for path in self.paths]
        whole = np.array([size is not None for size in decode_all(files, skip_corrupt=True)])
        return dataclasses.replace(
            self,
            paths=list(itertools.compress(self.paths, whole)),
            labels=self.labels[np.repeat(whole, self.counts)],
            counts=self.counts[whole],
        )


def read_folder(folder: Path) -> ImageList:
    """Lists a folder with one subfolder of images a class.

    Raises:
        OSError: there is no such folder.
        ValueError: it has no two subfolders, or one has no images.
    """
    names, paths, counts = [], [], []
    for entry in sorted(_visible(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            images = sorted(
                image.name for image in _visible(entry) if image.name.lower().endswith(_SUFFIXES)
            )
            paths += [os.fsencode(f"{entry.name}/{image}") for image in images]
            names.append(entry.name)
            counts.append(len(images))
    if len(names) < 2 or not paths:
        raise ValueError(
            f"{folder} has {len(names)} subfolders with {len(paths)} images: expected one "
            f"subfolder a class, at least two, with files that end in {', '.join(_SUFFIXES)}."
        )
    without = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if without:
        raise ValueError(
            f"{folder}: {len(without)} of {len(names)} subfolders have no images, such as "
            f"{without[0]}: expected files that end in {', '.join(_SUFFIXES)}. Add images or "
            "remove the class."
        )
    labels = np.repeat(np.arange(len(names), dtype=np.int64), counts)
    return ImageList(folder, paths, labels, np.ones(len(paths), np.int64), tuple(names))


def read_list(file: Path) -> ImageList:
    """Reads a text file: a line an image, its path from the file's folder on and the names of its
    labels, none or some, with tabs between them. The classes are all names in their order. Spaces
    around a name are no part of it, and blank lines are nothing.

    Raises:
        OSError: there is no such file.
        ValueError: it is not such a file, it lists an image twice, or its first image does not
            exist.
    """
    try:
        # Some editors begin a file with a mark, which utf-8-sig leaves out.
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no UTF-8 text ({error}): {_LINES}.") from error
    rows = _rows(file, lines)
    names = sorted({name for _, *of_image in rows for name in of_image})
    if len(rows) < 2 or len(names) < 2:
        raise ValueError(
            f"{file} lists {len(rows)} images with {len(names)} classes, expected two at least of "
            f"each. {_LINES}."
        )
    if not (file.parent / rows[0][0]).is_file():
        raise ValueError(
            f"{file} begins with {rows[0][0]!r}, and {file.parent / rows[0][0]} is no file. "
            f"{_LINES}."
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
    """Splits the lines into path and names, and refuses what nobody means."""
    rows, line_of = [], {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        path, *names = line.split("\t")
        names = [name.strip() for name in names]
        if not all((path, *names)):
            raise ValueError(
                f"{file}, line {number}: {line!r} has a tab with nothing before or after it. "
                f"{_LINES}."
            )
        first = line_of.setdefault(os.path.normpath(os.path.join(file.parent, path)), number)
        if first != number:
            raise ValueError(
                f"{file} lists {path} in line {first} and in line {number}: expected each image "
                "once, with all of its labels, since it could be trained on and tested on else."
            )
        rows.append([path, *names])
    return rows


_LINES = (
    "A line is the path of an image, from the file's folder on, and the names of its labels, with "
    "tabs between them"
)


def _visible(folder: os.PathLike) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]

"""A folder of images as a task: one subfolder a class."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from bit_keras.data.decodable import decode_all
from bit_keras.data.tasks import Examples, Task

# What tf.io.decode_image reads, of what folders of images hold.
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")

# Subfolders of exactly these names are (training, test) and not classes.
_SPLITS = (("train", "test"), ("train", "val"), ("train", "validation"))
_SPLIT_NAMES = frozenset(itertools.chain(*_SPLITS))

_TEST_FRACTION = 0.2

_LAYOUT = "expected PATH/CLASS/IMAGE, or PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE"

_Classes = dict[str, list[Path]]  # the images of each class; both are sorted


def load(name: str, path: str, skip_corrupt: bool = False) -> Task:
    """Returns the task of a folder with one subfolder a class.

    `PATH/CLASS/**/*.{jpg,jpeg,png,bmp,gif}` are its images; hidden and other files are ignored.
    If PATH has no other subfolders than `train` and `test` (or `val`, or `validation`), these
    are the splits, and the classes lie below them. Else 20 % of each class, and at least one
    image, are held out for the test: always the same ones, by a hash of their path in PATH.

    Every image is decoded once at the start, which finds broken files and the median size.

    Args:
        name: the task's name.
        path: the folder; `~` is the home directory.
        skip_corrupt: leave out what cannot be decoded, with a warning for each file.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is laid out in another way, a class has too few images, or an image
            cannot be decoded.
    """
    splits = _find_splits(path)
    found = [_find_classes(split) for split in splits]
    _check_classes(splits, found)
    sizes = _decode_all(found, skip_corrupt)
    found = [
        {label: [image for image in images if image in sizes] for label, images in classes.items()}
        for classes in found
    ]
    _check_classes(splits, found)
    train, test = found if len(found) == 2 else _hold_out(splits[0], found[0])
    return Task(
        name=name,
        class_names=tuple(train),
        image_size=_typical_size([sizes[image] for image in itertools.chain(*train.values())]),
        train=_examples(train),
        test=_examples(test),
        source=f"files sha256: {_digest_of_paths(splits, (train, test))}",
    )


def _digest_of_paths(splits: list[Path], found: tuple[_Classes, ...]) -> str:
    """Tells another choice of files, wherever the folder lies."""
    root = os.path.commonpath(splits)
    digest = hashlib.sha256()
    for classes in found:
        for image in itertools.chain(*classes.values()):
            digest.update(f"{os.path.relpath(image, root)}\n".encode(errors="surrogateescape"))
        digest.update(b"\n")
    return digest.hexdigest()


def _find_splits(path: str) -> list[Path]:
    """Returns the folders of the training and of the test split, or the one folder of both."""
    if not path:
        raise ValueError("The task 'folder:' lacks its path: write 'folder:/path/to/images'.")
    root = Path(path).expanduser().absolute()
    if not root.exists():
        raise FileNotFoundError(f"There is no folder {root}: {_LAYOUT}. Check the path.")
    if not root.is_dir():
        raise ValueError(f"{root} is a file: {_LAYOUT}. Give the folder that holds the classes.")
    names = set(_subfolders(root))
    for split in _SPLITS:
        if names == set(split):
            return [root / name for name in split]
    if names and names <= _SPLIT_NAMES:
        raise ValueError(
            f"{root} has the subfolders {sorted(names)}, which look like splits and not like "
            f"classes: expected 'train' and one of 'test', 'val', 'validation', and no other. "
            "Move what is not used elsewhere."
        )
    return [root]


def _find_classes(split: Path) -> _Classes:
    return {name: _find_images(split / name) for name in _subfolders(split)}


def _subfolders(folder: Path) -> list[str]:
    return sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."
    )


def _find_images(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.is_dir()
    )


def _check_classes(splits: list[Path], found: list[_Classes]) -> None:
    least, why = (2, "one to train on and one for the test") if len(splits) == 1 else (1, "one")
    for split, classes in zip(splits, found, strict=True):
        if not classes:
            raise ValueError(
                f"{split} has no subfolders: {_LAYOUT}. Move the images of each class into a "
                "subfolder with the name of the class."
            )
        if len(classes) == 1:
            raise ValueError(
                f"{split} has only one class, {next(iter(classes))!r}: expected at least two "
                "subfolders. Give the folder that holds the classes, not one of them."
            )
        if not any(classes.values()):
            raise ValueError(
                f"{split} has no images in its {len(classes)} subfolders: expected files that "
                f"end in {', '.join(_SUFFIXES)}. Convert other formats."
            )
        for name, images in classes.items():
            if len(images) < least:
                raise ValueError(
                    f"{split / name} has {len(images)} images: expected at least {least} ({why}) "
                    f"that end in {', '.join(_SUFFIXES)}. Add images or remove the class."
                )
    if len(found) == 2 and found[0].keys() != found[1].keys():
        raise ValueError(
            f"{splits[0]} and {splits[1]} must have the same classes, but these are in only one "
            f"of them: {', '.join(sorted(found[0].keys() ^ found[1].keys()))}. Add or remove them."
        )


def _decode_all(found: list[_Classes], skip_corrupt: bool) -> dict[Path, tuple[int, int]]:
    """Returns height and width of every image that can be decoded."""
    images = [image for classes in found for image in itertools.chain(*classes.values())]
    sizes = zip(images, decode_all(images, skip_corrupt), strict=True)
    return {image: size for image, size in sizes if size is not None}


def _hold_out(root: Path, classes: _Classes) -> tuple[_Classes, _Classes]:
    """Splits each class into training and test; with a new image the others stay, but for one."""

    def by_hash(image: Path) -> str:
        return hashlib.sha256(
            image.relative_to(root).as_posix().encode(errors="replace")
        ).hexdigest()

    train, test = {}, {}
    for name, images in classes.items():
        count = max(1, round(_TEST_FRACTION * len(images)))
        held_out = set(sorted(images, key=by_hash)[:count])
        train[name] = [image for image in images if image not in held_out]
        test[name] = [image for image in images if image in held_out]
    return train, test


def _typical_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """Returns the one size of all images, or a square of their median area.

    Rounded down, so that an area below 96 * 96 stays below it: the BiT-HyperRule looks at that.
    """
    if len(set(sizes)) == 1:
        return sizes[0]
    side = math.isqrt(int(np.median([height * width for height, width in sizes])))
    return side, side


def _examples(classes: _Classes) -> Examples:
    paths = [os.fsencode(image) for image in itertools.chain(*classes.values())]
    counts = [len(images) for images in classes.values()]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    return Examples(
        num_examples=len(paths),
        elements=lambda: tf.data.Dataset.from_tensor_slices({"path": paths, "label": labels}),
        read=lambda element: {
            "image": tf.io.read_file(element["path"]),
            "label": element["label"],
        },
        labels=labels,
    )

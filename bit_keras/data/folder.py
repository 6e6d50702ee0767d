"""The task "folder:PATH": a folder of images with one subfolder for each class."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bit_keras.data.class_names import comparable
from bit_keras.data.corrupt_images import decode_all
from bit_keras.data.decoding import colour_of
from bit_keras.data.image_files import EXPECTED, FolderListing
from bit_keras.data.image_list import ImageList
from bit_keras.data.splits import TEST, TRAINING, VALIDATION, find_splits, visible_subfolders
from bit_keras.data.tasks import Task

_TEST_FRACTION = 0.2

_LAYOUT = "expected PATH/CLASS/IMAGE, or PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE"

# Maps the least number of images that a class must have to its wording in an error message.
_LEAST = {1: "at least one", 2: "at least two, one to train on and one for the test"}

# Maps each class name to the paths of its images, relative to the task's folder. Names and paths
# are sorted.
_Classes = dict[str, list[str]]

# Maps the path of each image to its height and width in pixels.
_Sizes = dict[str, tuple[int, int]]


def load(name: str, path: str, *, skip_corrupt: bool = False, background: str = "white") -> Task:
    """Returns the task of a folder with one subfolder for each class.

    The images are all files `PATH/CLASS/**/*` that TensorFlow or Pillow reads; warnings name the
    pictures that are left out, and count the other files. If PATH has only the subfolders `train`
    and `test`, these are the splits, and the classes are below them. A subfolder `val` beside them
    holds the images to evaluate on during the training; without `test`, they are the test images.
    `bit_keras.data.splits.SPELLINGS` has other names of these folders. Without such subfolders,
    20 % of each class, at least one image, are held out for the test. A hash of their paths inside
    PATH chooses them, so they are always the same.

    Every image is decoded once at the start, to find corrupt files and the median size.

    Args:
        name: the task's name.
        path: the folder; `~` is the home directory.
        skip_corrupt: if True, leave out the images that cannot be decoded, with a warning for each.
        background: the colour behind transparent pixels: a name or a code such as "#ff8000".

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder has another layout, it cannot be said whether its subfolders are
            splits or classes, a class has too few images, or an image cannot be decoded.
    """
    background = colour_of(background)
    root = _root(path)
    splits = find_splits(root)
    if not splits:
        classes, sizes = _find_decodable({"": ""}, root, skip_corrupt, 2)
        return _unsplit_task(name, root, classes[""], sizes, background)
    found, sizes = _find_decodable(splits, root, skip_corrupt, 1)
    train, validation = found[TRAINING], found.get(VALIDATION)
    test, note = found.get(TEST), ""
    if test is None:
        test, validation = validation, None
        note = (
            f"{root} has no test split, so the test images are those of its validation split "
            f"{splits[VALIDATION]!r}."
        )
    return Task(
        name=name,
        class_names=tuple(train),
        image_size=_typical_size([sizes[image] for image in itertools.chain(*train.values())]),
        train=_image_list(root, train).examples(),
        test=_image_list(root, test).examples(),
        background=background,
        source=_source(train, *([] if validation is None else [validation]), test),
        validation=None if validation is None else _image_list(root, validation).examples(),
        location=os.path.realpath(root),
        note=note,
    )


def load_for_evaluation(
    name: str, path: str, *, skip_corrupt: bool = False, background: str = "white"
) -> Task:
    """Returns the task of a folder for the evaluation of a trained model.

    It is the same as `load`, except that a folder without splits may have a single class, and
    classes of a single image. `Task.whole` has all of its images.
    """
    colour, root = colour_of(background), _root(path)
    if find_splits(root):
        return load(name, path, skip_corrupt=skip_corrupt, background=background)
    classes, sizes = _find_decodable({"": ""}, root, skip_corrupt, 1, least_classes=1)
    return _unsplit_task(name, root, classes[""], sizes, colour)


def _unsplit_task(
    name: str,
    root: Path,
    classes: _Classes,
    sizes: _Sizes,
    background: tuple[int, int, int],
) -> Task:
    train, test = _hold_out(classes)
    # A class of one image has no training images. If all classes have only one image, the typical
    # size is that of the test images.
    measured = train if any(train.values()) else classes
    return Task(
        name=name,
        class_names=tuple(classes),
        image_size=_typical_size([sizes[image] for image in itertools.chain(*measured.values())]),
        train=_image_list(root, train).examples(),
        test=_image_list(root, test).examples(),
        background=background,
        source=_source(train, test),
        whole=_image_list(root, classes).examples(),
        location=os.path.realpath(root),
    )


def list_images(root: Path) -> ImageList:
    """Lists the images of a folder with one subfolder for each class, without decoding them.

    Args:
        root: the folder.

    Raises:
        ValueError: the folder has fewer than two subfolders, one of them has no images, or the
            subfolders are splits.
    """
    splits = find_splits(root)
    if splits:
        raise ValueError(
            f"{root} has the split folders {sorted(splits.values())}: expected one subfolder for "
            "each class. Give the folder of the training split."
        )
    listing = FolderListing(root)
    classes = _find_classes(listing, root, "")
    listing.log()
    _check_classes(root, [""], [classes], 1)
    return _image_list(root, classes)


def _image_list(root: Path, classes: _Classes) -> ImageList:
    paths = [os.fsencode(image) for image in itertools.chain(*classes.values())]
    counts = [len(images) for images in classes.values()]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    return ImageList(root, paths, labels, np.ones(len(paths), np.int64), tuple(classes))


def _source(*splits: _Classes) -> str:
    """Returns a digest of the paths of the chosen images, relative to the folder of the task."""
    digest = hashlib.sha256()
    for classes in splits:
        for image in itertools.chain(*classes.values()):
            digest.update(f"{image}\n".encode(errors="surrogateescape"))
        digest.update(b"\n")
    return f"files sha256: {digest.hexdigest()}"


def _root(path: str) -> Path:
    if not path:
        raise ValueError(
            "The task 'folder:' has no path. Write it after the colon: 'folder:/path/to/images'."
        )
    root = Path(path).expanduser().absolute()
    if not root.exists():
        raise FileNotFoundError(f"There is no folder {root}: {_LAYOUT}. Check the path.")
    if not root.is_dir():
        raise ValueError(f"{root} is a file: {_LAYOUT}. Give the folder that holds the classes.")
    return root


def _find_decodable(
    splits: dict[str, str],
    root: Path,
    skip_corrupt: bool,
    least: int,
    least_classes: int = 2,
) -> tuple[dict[str, _Classes], _Sizes]:
    """Returns the decodable images of each split, and the sizes of all decodable images.

    Args:
        splits: the subfolder of each split.
        root: the folder of the task.
        skip_corrupt: as for `load`.
        least, least_classes: as for `_check_classes`.
    """
    listing = FolderListing(root)
    found = [_find_classes(listing, root, split) for split in splits.values()]
    found = [_spelled_as(found[0], classes) for classes in found]
    if len(splits) > 1:
        listing.leave_out_files(root)
    listing.log()
    _check_classes(root, list(splits.values()), found, least, least_classes)
    images = [image for classes in found for image in itertools.chain(*classes.values())]
    decoded = decode_all([root / image for image in images], skip_corrupt)
    sizes = {image: size for image, size in zip(images, decoded, strict=True) if size is not None}
    found = [
        {label: [image for image in images if image in sizes] for label, images in classes.items()}
        for classes in found
    ]
    _check_classes(root, list(splits.values()), found, least, least_classes)
    return dict(zip(splits, found, strict=True)), sizes


def _find_classes(listing: FolderListing, root: Path, split: str) -> _Classes:
    folder = root / split
    listing.leave_out_files(folder)
    names = visible_subfolders(folder)
    counts = Counter(map(comparable, names))
    twice = [name for name in names if counts[comparable(name)] > 1]
    if twice:
        raise ValueError(
            f"{folder} has subfolders whose names look the same, but are stored in different forms "
            f"of Unicode: {', '.join(map(ascii, twice))}. Move the images of a class into one "
            "folder."
        )
    return {name: listing.images(folder / name) for name in names}


def _spelled_as(training: _Classes, classes: _Classes) -> _Classes:
    """Renames the classes of a split to the Unicode form of their names in the training split."""
    spelling = {comparable(name): name for name in training}
    named = {spelling.get(comparable(name), name): images for name, images in classes.items()}
    return dict(sorted(named.items()))


def _check_classes(
    root: Path,
    splits: Sequence[str],
    found: list[_Classes],
    least: int,
    least_classes: int = 2,
) -> None:
    """Raises a ValueError if there are too few classes, or too few images in a class.

    Args:
        root: the folder of the task.
        splits: the subfolders of the splits.
        found: the images of each split.
        least: the least number of images in a class, 1 or 2.
        least_classes: the least number of classes, 1 or 2.
    """
    for folder, classes in zip((root / split for split in splits), found, strict=True):
        if not classes:
            train = root / splits[0]
            unknown = (
                ""
                if folder == train
                else f" If their classes are not known, give {train} as the folder, of which "
                f"{_TEST_FRACTION:.0%} are held out for the test."
            )
            raise ValueError(
                f"{folder} has no subfolders: expected PATH/CLASS/IMAGE. Move the images of each "
                f"class into a subfolder with the name of the class.{unknown}"
            )
        if len(classes) < least_classes:
            raise ValueError(
                f"{folder} has only one class, {next(iter(classes))!r}: expected at least two "
                "subfolders. Give the folder that holds the classes, not one of them."
            )
        if not any(classes.values()):
            raise ValueError(
                f"{folder} has no images in its {len(classes)} subfolders: {EXPECTED}. Convert "
                "images of other formats."
            )
        for name, images in classes.items():
            if len(images) < least:
                raise ValueError(
                    f"{folder / name} has too few images, {len(images)}: expected {_LEAST[least]}; "
                    f"{EXPECTED}. Add images, or remove the class."
                )
    for split, classes in zip(splits[1:], found[1:], strict=True):
        if classes.keys() != found[0].keys():
            raise ValueError(
                f"{root / splits[0]} and {root / split} must have the same classes, but these are "
                f"in only one of them: {', '.join(sorted(found[0].keys() ^ classes.keys()))}. Add "
                "or remove them."
            )


def _hold_out(classes: _Classes) -> tuple[_Classes, _Classes]:
    """Splits each class into training and test images by a hash of their paths.

    When an image is added to a class, at most one other image changes its split.
    """

    def by_hash(image: str) -> str:
        return hashlib.sha256(image.encode(errors="replace")).hexdigest()

    train, test = {}, {}
    for name, images in classes.items():
        count = max(1, round(_TEST_FRACTION * len(images)))
        held_out = set(sorted(images, key=by_hash)[:count])
        train[name] = [image for image in images if image not in held_out]
        test[name] = [image for image in images if image in held_out]
    return train, test


def _typical_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """Returns (height, width): the common size of all images, or a square with their median area.

    The side is rounded down, so that an area below 96 * 96 stays below it, because the
    BiT-HyperRule chooses its resolution by this limit.
    """
    if len(set(sizes)) == 1:
        return sizes[0]
    side = math.isqrt(int(np.median([height * width for height, width in sizes])))
    return side, side

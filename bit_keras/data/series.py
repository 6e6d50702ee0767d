"""Splits small collections of pictures so that no series is on both sides of the split.

Clip art comes in series: the same lemon whole and cut, in colours and as an outline, to the left
and to the right. A test picture whose sibling was trained on says nothing about new pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from PIL import Image, ImageChops

# The share of a class's pictures that are for the test, and the smallest number.
_TEST_SHARE, _LEAST_TEST = 0.27, 10


def on_white(picture: Image.Image, side: int) -> Image.Image | None:
    """Returns a picture as a square of RGB on white, without the white around it.

    Args:
        picture: of any mode.
        side: height and width in pixels of what is returned.

    Returns:
        None if the picture is white all over.
    """
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    picture = white.convert("RGB")
    difference = ImageChops.difference(picture, Image.new("RGB", picture.size, "white"))
    box = difference.convert("L").point(lambda value: 255 * (value > 8)).getbbox()
    if box is None:
        return None
    picture = picture.crop(box)
    # One pixel on each side stays white.
    padded = max(picture.size) * side // (side - 2)
    square = Image.new("RGB", (padded, padded), "white")
    square.paste(picture, ((padded - picture.width) // 2, (padded - picture.height) // 2))
    return square.resize((side, side), Image.Resampling.LANCZOS)


def signature(picture: Image.Image) -> np.ndarray:
    """Returns the 16x16 grey pixels, float64 `[256]`, with mean 0 and norm 1.

    So the product of two signatures is the correlation of two pictures.
    """
    small = picture.convert("L").resize((16, 16), Image.Resampling.BOX)
    values = np.asarray(small, np.float64).ravel()
    values -= values.mean()
    return values / max(np.linalg.norm(values), 1e-9)


def series_of(
    paths: Sequence[str],
    key: Callable[[str], Hashable],
    signatures: np.ndarray,
    alike: float,
    mirror: bool = True,
) -> list[list[str]]:
    """Returns the pictures of a class in series, in the order of their first pictures.

    Args:
        paths: a name of each picture.
        key: pictures whose names have the same key are of one series.
        signatures: `signature` of each picture, `[N, 256]`.
        alike: pictures whose correlation is higher are of one series too.
        mirror: if True, pictures that are alike after one of them is mirrored are of one series.
    """
    group = list(range(len(paths)))

    def first(index: int) -> int:
        while group[index] != index:
            index = group[index]
        return index

    keys = [key(path) for path in paths]
    similar = signatures @ signatures.T > alike
    if mirror:
        mirrored = signatures.reshape(-1, 16, 16)[:, :, ::-1].reshape(-1, 256)
        similar |= signatures @ mirrored.T > alike
    for index in range(len(paths)):
        for other in range(index):
            if keys[index] == keys[other] or similar[index, other]:
                low, high = sorted((first(index), first(other)))
                group[high] = low
    groups = {}
    for index, path in enumerate(paths):
        groups.setdefault(first(index), []).append(path)
    return list(groups.values())


def hold_out_series(
    series: Sequence[Sequence[str]], most_test: int | None = None
) -> tuple[list[str], list[str]]:
    """Returns the training and the test pictures of a class, sorted; about 27 % are for the test.

    A hash of the first name of a series chooses its side. A series of more than a third of the test
    pictures is trained on.

    Args:
        series: the names of the pictures of each series.
        most_test: the largest number of test pictures; None is any number.
    """
    series = sorted(series, key=lambda each: hash_of(each[0]))
    wanted = max(_LEAST_TEST, round(_TEST_SHARE * sum(map(len, series))))
    wanted = min(wanted, most_test or wanted)
    train, test = [], []
    for each in series:
        fits = len(test) + len(each) <= wanted and len(each) <= wanted // 3
        (test if fits else train).extend(each)
    return sorted(train), sorted(test)


def hash_of(name: str) -> str:
    """Returns a hash of a name, by which pictures are put in an order that means nothing."""
    return hashlib.sha256(name.encode()).hexdigest()

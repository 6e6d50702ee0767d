"""The task "letters": A to Z, drawn in the fonts that are installed on this machine."""

from __future__ import annotations

import os
import string
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bit_keras.data.array_examples import digest_of_arrays, examples_by_class
from bit_keras.data.series import hold_out_series, series_of, signature
from bit_keras.data.tasks import Task

LETTERS = string.ascii_uppercase

# Where Debian's packages of fonts put them.
FOLDER = "/usr/share/fonts"

_PACKAGES = "fonts-noto-core fonts-dejavu-extra fonts-freefont-ttf fonts-urw-base35"

# The fewest families of fonts: with fewer, a test says little about fonts that were not seen.
_LEAST_FAMILIES = 20

# The side of a picture, and of the square that holds the largest letter of a font, in pixels.
_SIDE, _INNER = 64, 54

# The least share of a font's drawings that resemble the median drawing of their own letter most, at
# 16x16 pixels. A font with fewer draws symbols or Greek letters in the places of letters.
_LEAST_RESEMBLANCE = 0.5

# Fonts whose drawings correlate more are copies of one design under other names.
_ALIKE = 0.96


def load(name: str, *, data_dir: str | os.PathLike | None = None) -> Task:
    """Returns the task of the capital letters, black on white, 64x64 pixels, in 26 classes.

    Families of fonts are split, about 27 % for the test: a font's bold and italic forms, and copies
    of its design under another name, are on the same side. Fonts that lack letters or draw symbols
    instead are left out. The images are neither flipped nor cropped at random in training, because
    a mirrored or cropped letter may be another sign.

    Args:
        name: the task's name.
        data_dir: the folder of the fonts (.ttf and .otf), with the folders below it; None is
            `/usr/share/fonts`.

    Raises:
        FileNotFoundError: there are fewer than 20 families of fonts with these letters.
    """
    root = Path(os.path.expanduser(data_dir or FOLDER))
    drawings, families = _draw_all(root)
    if len(set(families.values())) < _LEAST_FAMILIES:
        raise FileNotFoundError(
            f"The task {name!r} draws the letters of installed fonts, and {root} has "
            f"{len(set(families.values()))} families of fonts with the letters A to Z; expected at "
            f"least {_LEAST_FAMILIES}. Install more: apt-get install {_PACKAGES}"
        )
    fonts = sorted(drawings)
    signatures = np.stack([_signatures(drawings[font]) for font in fonts])
    # The mean over the letters of the correlations of two fonts is a product of vectors.
    flat = signatures.reshape(len(fonts), -1) / np.sqrt(len(LETTERS))
    series = series_of(fonts, families.__getitem__, flat, _ALIKE, mirror=False)
    sides = [_letters_of(side) for side in hold_out_series(series)]
    pictures = {
        letter + font: drawing[..., np.newaxis]
        for font in fonts
        for letter, drawing in zip(LETTERS, drawings[font], strict=True)
    }
    return Task(
        name=name,
        class_names=tuple(LETTERS),
        image_size=(_SIDE, _SIDE),
        train=examples_by_class(sides[0], pictures),
        test=examples_by_class(sides[1], pictures),
        flip=False,
        random_crop=False,
        source=digest_of_arrays(*(drawings[font] for font in fonts)),
    )


def _letters_of(fonts: list[str]) -> list[list[str]]:
    return [[letter + font for font in fonts] for letter in LETTERS]


def _draw_all(root: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the drawings of each font, uint8 `[26, 64, 64]`, and its family, by its file name."""
    drawings, families, contents = {}, {}, set()
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in (".ttf", ".otf"):
            continue
        found = _draw(path)
        if found is None or found[1].tobytes() in contents or path.name in drawings:
            continue
        families[path.name], drawings[path.name] = found
        contents.add(found[1].tobytes())
    if not drawings:
        return {}, {}
    signatures = np.stack([_signatures(each) for each in drawings.values()])
    median = np.median(signatures, axis=0)
    median /= np.linalg.norm(median, axis=-1, keepdims=True)
    nearest = (signatures @ median.T).argmax(axis=-1)
    resemblance = (nearest == np.arange(len(LETTERS))).mean(axis=-1)
    for font, value in zip(list(drawings), resemblance, strict=True):
        if value < _LEAST_RESEMBLANCE:
            del drawings[font], families[font]
    return drawings, families


def _draw(path: Path) -> tuple[str, np.ndarray] | None:
    """Returns the family and the 26 letters of a font; None if it lacks letters."""
    try:
        font = ImageFont.truetype(path, _SIDE)
        family = font.getname()[0] or path.stem
        # A font draws the same box for all that it lacks; the last code point is never a sign.
        missing = bytes(font.getmask("\U0010ffff"))
        masks = [bytes(font.getmask(letter)) for letter in LETTERS]
        if missing in masks or b"" in masks or len(set(masks)) < len(LETTERS):
            return None
        boxes = np.array([font.getbbox(letter) for letter in LETTERS])
        largest = (boxes[:, 2:] - boxes[:, :2]).max()
        font = ImageFont.truetype(path, _SIDE * _INNER / largest)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return family, np.stack([_draw_letter(font, letter) for letter in LETTERS])


def _draw_letter(font: ImageFont.FreeTypeFont, letter: str) -> np.ndarray:
    picture = Image.new("L", (_SIDE, _SIDE), "white")
    left, top, right, bottom = font.getbbox(letter)
    corner = ((_SIDE - left - right) / 2, (_SIDE - top - bottom) / 2)
    ImageDraw.Draw(picture).text(corner, letter, fill="black", font=font)
    return np.asarray(picture)


def _signatures(drawing: np.ndarray) -> np.ndarray:
    return np.stack([signature(Image.fromarray(letter)) for letter in drawing])

"""The task "stamps": small photographs and drawings of Debian's package tuxpaint-stamps-default."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from bit_keras.data.array_examples import digest_of_arrays, examples_by_class
from bit_keras.data.series import hold_out_series, on_white, series_of, signature
from bit_keras.data.tasks import Task

# Where Debian's package puts the stamps.
FOLDER = "/usr/share/tuxpaint/stamps"

# Each class and its folders in the package, with the folders below them.
FOLDERS = MappingProxyType(
    {
        "bird": ("animals/birds",),
        "building": ("town/houses", "town/monuments", "town/cartoon"),
        "food": ("food",),
        "holiday": ("seasonal",),
        "household item": ("household", "hobbies", "clothes"),
        "mammal": ("animals/mammals", "animals/marsupials"),
        "plant": ("plants",),
        "small animal": (
            "animals/amphibians",
            "animals/dinosaur",
            "animals/fish",
            "animals/insects",
            "animals/lizards",
            "animals/shellfish",
        ),
        "symbol": ("symbols/money", "symbols/math", "symbols/music", "symbols/chess"),
        "vehicle": ("vehicles", "military/vehicles"),
    }
)

_SIDE = 64

# Pictures whose correlation at 16x16 pixels is higher, mirrored or not, are of one series.
_ALIKE = 0.95

# Words of a file name that only say which form of a picture it is.
_FORMS = {"left", "right", "mirror", "mirrored", "flip", "flipped", "cartoon", "the", "a", "small"}
_FORMS |= {
    "black",
    "white",
    "red",
    "green",
    "blue",
    "yellow",
    "brown",
    "big",
    "large",
    "old",
    "b",
    "w",
}


def load(name: str, *, data_dir: str | os.PathLike | None = None) -> Task:
    """Returns the task of Tux Paint's stamps: pictures of 64x64 pixels on white in 10 classes.

    The stamps are under the GPL, so the package does not hold them; it reads them where Debian
    installs them. Stamps of one series, such as the two directions of a picture, are on the same
    side of the split, in which about 27 % are for the test.

    Args:
        name: the task's name.
        data_dir: the folder of the stamps; None is `/usr/share/tuxpaint/stamps`.

    Raises:
        FileNotFoundError: the stamps are not installed.
    """
    root = Path(os.path.expanduser(data_dir or FOLDER))
    pictures, train, test = {}, [], []
    for class_name, folders in FOLDERS.items():
        found = _read(root, folders)
        if len(found) < 2:
            raise FileNotFoundError(
                f"The task {name!r} needs the stamps of Tux Paint, and {root} has none of the "
                f"class {class_name!r} (folders {', '.join(folders)}). Install them: "
                "apt-get install tuxpaint-stamps-default"
            )
        paths = sorted(found)
        signatures = np.stack([signature(Image.fromarray(found[path])) for path in paths])
        sides = hold_out_series(series_of(paths, series_name, signatures, _ALIKE))
        train.append(sides[0])
        test.append(sides[1])
        pictures |= found
    return Task(
        name=name,
        class_names=tuple(FOLDERS),
        image_size=(_SIDE, _SIDE),
        train=examples_by_class(train, pictures),
        test=examples_by_class(test, pictures),
        source=digest_of_arrays(*(pictures[path] for path in sorted(pictures))),
        location=os.path.realpath(root),
    )


def series_name(path: str) -> str:
    """Returns the first word of a stamp's file name that says what it shows.

    >>> series_name("seasonal/halloween/bat_left.png"), series_name("animals/birds/Hen2.png")
    ('bat', 'hen')
    """
    words = re.findall("[a-z]+", Path(path).stem.lower())
    telling = [word for word in words if word not in _FORMS]
    return telling[0] if telling else Path(path).stem.lower()


def _read(root: Path, folders: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Returns the pictures of a class, uint8 `[64, 64, 3]`, by path; repeats are left out."""
    found, contents = {}, set()
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.png")):
        with Image.open(path) as opened:
            picture = on_white(opened, _SIDE)
        if picture is None or picture.tobytes() in contents:
            continue
        contents.add(picture.tobytes())
        found[path.relative_to(root).as_posix()] = np.asarray(picture)
    return found

"""Makes the file of the task "clipart" from Debian's package openclipart-png (public domain).

    apt-get install openclipart-png
    python examples/upstream/clipart.py --output bit_keras/data/clipart.npz

A picture is trimmed to what is not white, made square with white, reduced to 64x64 pixels and to 32
colours. Each series is on one side of the split: all pictures of a class whose file names begin
with the same word ("lemon_half", "lemon_slice"), all that look alike at 16x16 pixels, mirrored too,
and those of TOGETHER. The file has four arrays: `sources`, the paths of the originals, each after
the side and the class ("train/bird/animals/birds/crow_01.png"); `png`, the bytes of all pictures,
one PNG after another; `ends`, where each of them ends; and `class_names`. The same version of
Pillow makes the same file again.
"""

from __future__ import annotations

import argparse
import io
import re
import warnings
from pathlib import Path
from types import MappingProxyType

import numpy as np
from clipart_names import LEFT_OUT, PICKED, TOGETHER
from PIL import Image

from bit_keras.data import series

ROOT = Path("/usr/share/openclipart/png")

# Each class and the folders below /usr/share/openclipart/png that it takes, with the folders below
# them. The pictures for pre-training leave these folders and those of MIXED out: see `is_held_out`.
FOLDERS = MappingProxyType(
    {
        "bird": ("animals/birds",),
        "body part": ("people/bodypart",),
        "building": ("buildings",),
        "clothing": ("people/clothing",),
        "computer": ("computer/hardware",),
        "dessert": ("food/desserts",),
        "drink": ("food/beverages",),
        "flower": ("plants/flowers",),
        "fruit": ("food/fruit",),
        "insect": ("animals/bugs",),
        "mammal": ("animals/mammals",),
        "meal": ("food/meats_and_eggs", "food/breads_and_carbs"),
        "musical instrument": ("recreation/music",),
        "person": (),
        "sky": ("signs_and_symbols/weather",),
        "sports equipment": ("recreation/sports",),
        "stationery": ("office",),
        "tool": ("tools",),
        "tree or leaf": ("plants/trees",),
        "vehicle": ("transportation/vehicles",),
    }
)

# Folders of many things, from which single pictures are taken.
MIXED = (
    "animals",
    "decorations",
    "education",
    "electronics",
    "food",
    "geography/astronomy",
    "people",
    "plants",
    "recreation/holiday",
    "recreation/toys",
    "science",
    "signs_and_symbols/clocks",
    "transportation",
    "unsorted",
)


def is_held_out(path: str) -> bool:
    """Returns True if a picture is kept for this task, and is left out of pre-training.

    Args:
        path: the picture's path below /usr/share/openclipart/png, with "/" between folders.

    >>> is_held_out("animals/birds/crow_01.png"), is_held_out("shapes/stars/star_01.png")
    (True, False)
    """
    folders = [*MIXED, *(folder for folders in FOLDERS.values() for folder in folders)]
    return any(path.startswith(folder + "/") for folder in folders)


_SIDE = 64
_COLOURS = 32

# A few originals are scans of up to 170 million pixels.
_MOST_PIXELS = 30_000_000

# Pictures whose correlation at 16x16 grey pixels is higher look alike.
_ALIKE = 0.95

# Training pictures whose correlation with any test picture is higher are left out.
_REPEATED = 0.98

# The largest and the smallest numbers of pictures of a class.
_MOST_TEST, _LEAST_TEST = 20, 10
_MOST_TRAIN, _LEAST_TRAIN = 50, 25

# At most so many pictures of a series are taken.
_MOST_OF_SERIES = 10


def chosen(name: str) -> list[str]:
    """Returns the paths of a class's pictures below ROOT, sorted."""
    paths = {path for folder in FOLDERS[name] for path in (ROOT / folder).rglob("*.png")}
    found = {path.relative_to(ROOT).as_posix() for path in paths}
    left_out = LEFT_OUT.get(name, "").split()
    for pick in PICKED.get(name, "").split():
        folder, start = pick.rsplit("/", 1)
        found |= {
            f"{folder}/{path.name}"
            for path in (ROOT / folder).glob("*.png")
            if path.name.startswith(start)
        }
    return sorted(path for path in found if not _starts_with_any(path, left_out))


def _starts_with_any(path: str, starts: list[str]) -> bool:
    """Returns True if a file name, or a path, begins with one of some texts."""
    name = path.rsplit("/", 1)[-1]
    return any((path if "/" in start else name).startswith(start) for start in starts)


def render(path: Path) -> Image.Image | None:
    """Returns a picture as 64x64 RGB on white, without the white around it.

    Returns:
        None if the picture is white all over, or too large to be read in little memory.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        opened = Image.open(path)
    with opened:
        if opened.width * opened.height > _MOST_PIXELS:
            return None
        return series.on_white(opened, _SIDE)


def split(name: str, groups: list[list[str]]) -> tuple[list[str], list[str]]:
    """Returns the training and the test pictures of a class.

    Raises:
        ValueError: too few pictures for either side.
    """
    groups = [sorted(each, key=series.hash_of)[:_MOST_OF_SERIES] for each in groups]
    train, test = series.hold_out_series(groups, _MOST_TEST)
    train = sorted(sorted(train, key=series.hash_of)[:_MOST_TRAIN])
    if len(train) < _LEAST_TRAIN or len(test) < _LEAST_TEST:
        raise ValueError(f"{name}: {len(train)} training and {len(test)} test pictures.")
    return train, test


def _first_word(path: str) -> str:
    """Returns the first word of a file name, without a plural's s; or its entry in TOGETHER."""
    for starts in TOGETHER:
        if path.startswith(tuple(starts.split())):
            return starts
    return re.findall("[a-z]+", Path(path).stem.lower())[0].removesuffix("s")


def render_all() -> dict[str, dict[str, Image.Image]]:
    """Returns the pictures of each class by path; of repeats the first, none in two classes."""
    classes, owners = {}, {}
    for name in FOLDERS:
        classes[name] = {}
        contents = set()
        for path in chosen(name):
            picture = render(ROOT / path)
            content = picture and picture.tobytes()
            if content is None or content in contents:
                continue
            contents.add(content)
            owners.setdefault(content, set()).add(name)
            classes[name][path] = picture
    return {
        name: {path: each for path, each in found.items() if len(owners[each.tobytes()]) == 1}
        for name, found in classes.items()
    }


def split_all(
    classes: dict[str, dict[str, Image.Image]],
) -> dict[str, tuple[list[str], list[str]]]:
    """Returns the training and the test pictures of each class."""
    signatures = {
        name: {path: series.signature(picture) for path, picture in found.items()}
        for name, found in classes.items()
    }
    sides = {}
    for name, found in signatures.items():
        paths = sorted(found)
        values = np.stack([found[path] for path in paths])
        sides[name] = split(name, series.series_of(paths, _first_word, values, _ALIKE))
    tests = np.stack([signatures[name][path] for name in sides for path in sides[name][1]])
    for name, (train, test) in sides.items():
        kept = [path for path in train if (tests @ signatures[name][path]).max() <= _REPEATED]
        if len(kept) < _LEAST_TRAIN:
            raise ValueError(f"{name}: {len(kept)} training pictures are unlike the test pictures.")
        sides[name] = kept, test
    return sides


def encode(picture: Image.Image) -> bytes:
    """Returns a picture of 32 colours as a PNG."""
    stream = io.BytesIO()
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def main() -> None:
    """Writes the file and prints the counts of each class."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="the .npz file to write")
    output = parser.parse_args().output
    classes = render_all()
    sides = split_all(classes)
    sources, encoded = [], []
    for side, number in (("train", 0), ("test", 1)):
        for name in FOLDERS:
            sources += [f"{side}/{name}/{path}" for path in sides[name][number]]
            encoded += [encode(classes[name][path]) for path in sides[name][number]]
    np.savez_compressed(
        output,
        sources=np.array(sources),
        png=np.frombuffer(b"".join(encoded), np.uint8),
        ends=np.cumsum([len(each) for each in encoded]),
        class_names=np.array(list(FOLDERS)),
    )
    for name, (train, test) in sides.items():
        print(f"{name:20}{len(train):4} training and {len(test):3} test pictures")
    print(f"{output}: {len(sources)} pictures, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""How the files of pictures are written, and what every step reports of each picture."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a picture: the file that was written, or why there is none.

    Attributes:
        source: "icons", "clipart" or "wallpapers".
        part: the set, folder or package in the source.
        path: the file, relative to the output directory, or "".
        sha256: of the file's content, or "".
        reason: why there is no file, or "".
        name: the picture's name in its source.
    """

    source: str
    part: str
    path: str = ""
    sha256: str = ""
    reason: str = ""
    name: str = ""


def generator(*keys: object) -> random.Random:
    """Returns random numbers that depend on the keys alone: the seed, a picture's name."""
    return random.Random("/".join(map(str, keys)))


def shard(source: str, number: int, name: str) -> str:
    """Returns the path of a picture, relative to the output directory: 1000 numbers in a folder.

    >>> shard("icons", 2013, "mdi.home.png")
    'pictures/icons/0002/002013.mdi.home.png'
    """
    return f"pictures/{source}/{number // 1000:04d}/{number:06d}.{name}"


def write(output: Path, path: str, content: bytes) -> str:
    """Writes a file below the output directory; returns the sha256 of its content."""
    file = output / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def evenly_thinned(items: list, most: int | None, *keys: object) -> list:
    """Returns at most so many of the items, chosen by chance from the keys, in their order."""
    if most is None or len(items) <= most:
        return items
    chosen = generator(*keys).sample(range(len(items)), most)
    return [items[number] for number in sorted(chosen)]

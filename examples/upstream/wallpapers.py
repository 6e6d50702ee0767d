"""Photographs and drawings of Debian's packages of wallpapers, cut into tiles."""

from __future__ import annotations

import dataclasses
import io
import math
import re
from pathlib import Path

import numpy as np
import resvg_py
from outcome import Outcome, evenly_thinned, generator, shard, write
from PIL import Image

SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".jxl", ".svg"])

# Debian's packages, their pictures below /usr/share, and the licences that
# /usr/share/doc/PACKAGE/copyright names. The first pattern that a picture fits counts.
PACKAGES = (
    ("gnome-backgrounds", "backgrounds/gnome/**/*", "CC-BY-SA-3.0"),
    ("plasma-workspace-wallpapers", "wallpapers/*/contents/images*/*", "GPL-2.0-or-later"),
    ("mate-backgrounds", "backgrounds/mate/**/*", "GPL-2.0-or-later, CC-BY-SA-4.0"),
    ("lomiri-wallpapers-20.04", "backgrounds/Fossa_by_*", "CC-BY-SA-3.0"),
    ("lomiri-wallpapers-20.04", "backgrounds/Infinite-Sea_by_*", "CC-BY-SA-3.0"),
    ("lomiri-wallpapers-20.04", "backgrounds/Kleiber_by_*", "CC-BY-SA-3.0"),
    ("lomiri-wallpapers-20.04", "backgrounds/Painting-Colors_by_*", "CC-BY-SA-3.0"),
    ("lomiri-wallpapers-16.04", "backgrounds/*_by_*", "CC-BY-4.0, CC-BY-SA-4.0, CC0-1.0"),
    ("ukui-wallpapers", "backgrounds/*", "CC-BY-SA-3.0"),
)

# The number of tiles of each picture, and the pixels of a side of a tile.
TILES, SIZE = 250, 128

# A picture is made smaller first: no side keeps more pixels.
_LARGEST = 2048

# The least side of a picture, and the share of its area that a tile covers, from and to.
_SMALLEST, _AREAS = 500, (0.05, 1.0)

# A tile whose brightness varies less, as a standard deviation of values up to 255, is a plain sky
# or gradient: another is cut instead, so often.
_FLAT, _TRIES = 5.0, 4


@dataclasses.dataclass(frozen=True)
class Wallpaper:
    """One large picture, the Debian package that it belongs to, and how many tiles it gives."""

    file: Path
    name: str
    package: str
    tiles: int


def collect(share: Path, most: int | None, seed: int) -> tuple[list[Wallpaper], list[Outcome]]:
    """Returns the pictures to cut, and what is left out.

    Of a picture that is there in several sizes the largest file is taken.

    Args:
        share: /usr/share, or another folder with the folders backgrounds and wallpapers.
        most: the largest number of tiles of all pictures together, about; None: all.
        seed: the seed of the choice.

    Raises:
        FileNotFoundError: the folder has none of the pictures.
    """
    packages = {}
    for package, pattern, _ in PACKAGES:
        for file in sorted(share.glob(pattern)):
            if file.suffix.lower() in SUFFIXES and not file.is_symlink():
                packages.setdefault(file, package)
    if not packages:
        names = " ".join(dict.fromkeys(package for package, *_ in PACKAGES))
        raise FileNotFoundError(
            f"There are no wallpapers below {share}. Install them with `apt-get install {names}`, "
            "or name the folder of backgrounds and wallpapers with --wallpapers."
        )
    sizes = {}
    for file in packages:
        sizes.setdefault(_without_size(file.relative_to(share)), []).append(file)
    kept, left_out = [], []
    for files in sizes.values():
        largest = max(files, key=lambda file: (file.stat().st_size, file))
        kept.append(largest)
        left_out += [
            Outcome("wallpapers", packages[file], reason="another size of the same picture")
            for file in files
            if file != largest
        ]
    tiles = TILES if most is None else max(1, min(TILES, most // len(kept)))
    kept = evenly_thinned(sorted(kept), most, seed, "wallpapers")
    return [
        Wallpaper(file, file.relative_to(share).as_posix(), packages[file], tiles) for file in kept
    ], left_out


def draw(wallpaper: Wallpaper, number: int, output: Path, seed: int) -> list[Outcome]:
    """Cuts a picture into random tiles and writes them as JPEG files."""
    named = Outcome("wallpapers", wallpaper.package, name=wallpaper.name)
    try:
        picture = _read(wallpaper.file)
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        reason = f"cannot be read: {wallpaper.file.suffix} {type(error).__name__}"
        return [dataclasses.replace(named, reason=reason)]
    if min(picture.size) < _SMALLEST:
        return [dataclasses.replace(named, reason="small")]
    chance = generator(seed, "wallpaper", wallpaper.name)
    written = []
    for index in range(wallpaper.tiles):
        tile = _tile(picture, chance)
        if tile is None:
            written.append(dataclasses.replace(named, reason="plain tile"))
            continue
        stream = io.BytesIO()
        tile.save(stream, "JPEG", quality=92)
        stem = re.sub("[^A-Za-z0-9]+", "-", wallpaper.name.rsplit(".", 1)[0])[-60:]
        path = shard("wallpapers", number * wallpaper.tiles + index, f"{stem}.jpg")
        digest = write(output, path, stream.getvalue())
        written.append(dataclasses.replace(named, path=path, sha256=digest))
    return written


def _read(file: Path) -> Image.Image:
    """Returns a picture in RGB, with no side above `_LARGEST` pixels."""
    if file.suffix.lower() == ".svg":
        content = resvg_py.svg_to_bytes(
            svg_path=str(file), width=_LARGEST, background="#ffffff", skip_system_fonts=True
        )
        return Image.open(io.BytesIO(content)).convert("RGB")
    if file.suffix.lower() == ".jxl":
        import pillow_jxl  # noqa: F401  (Pillow reads JPEG XL once it is imported.)
    with Image.open(file) as opened:
        opened.draft("RGB", (_LARGEST, _LARGEST))
        picture = opened.convert("RGB")
    picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS, reducing_gap=3)
    return picture


def _tile(picture: Image.Image, chance) -> Image.Image | None:
    """Returns a random tile that is not plain, or None."""
    for _ in range(_TRIES):
        share = math.exp(chance.uniform(*map(math.log, _AREAS)))
        side = math.sqrt(share * picture.width * picture.height)
        stretch = math.exp(chance.uniform(-0.15, 0.15))
        width, height = min(side * stretch, picture.width), min(side / stretch, picture.height)
        left = chance.uniform(0, picture.width - width)
        top = chance.uniform(0, picture.height - height)
        tile = picture.resize(
            (SIZE, SIZE),
            Image.Resampling.LANCZOS,
            box=(left, top, left + width, top + height),
            reducing_gap=3,
        )
        if np.asarray(tile.convert("L"), np.float32).std() >= _FLAT:
            return tile
    return None


def _without_size(path: Path) -> str:
    """Returns what the sizes of one picture have in common.

    >>> _without_size(Path("backgrounds/mate/Elephants_3840x2160.jpg"))
    'backgrounds/mate/Elephants'
    """
    return re.sub(r"_?\d+x\d+$", "", path.with_suffix("").as_posix())

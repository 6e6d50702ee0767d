"""The clip art of Debian's package openclipart-png that the task "clipart" does not use."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import re
from pathlib import Path

import numpy as np
from clipart import is_held_out
from clipart_names import PICKED
from colours import brightness, ground
from outcome import Outcome, evenly_thinned, generator, shard, write
from PIL import Image

# Folders of flags and logos, and of things that a test picture may show too, beside those of the
# task "clipart".
_LEFT_OUT = {
    "signs_and_symbols/flags": "flag",
    "logos": "logo",
    "decorations": "folders of the task clipart",
    "science": "folders of the task clipart",
    "signs_and_symbols/clocks": "folders of the task clipart",
    "signs_and_symbols/weather": "folders of the task clipart",
    "unsorted/duplicates": "the same drawing as another",
    "buttons/flags": "flag",
}

# Single pictures of the task "clipart" from other folders: the beginnings of their paths.
_PICKED = tuple(" ".join(PICKED.values()).split())

_FLAG_NAMES = re.compile(r"(^|[^a-z])flags?([^a-z]|$)|^argentina", re.IGNORECASE)

# The largest number of pictures of a series: names that differ in digits only, in one folder.
SERIES = 36

# Larger pictures are scans, which would need gigabytes of memory.
MOST_PIXELS = 20_000_000

# Pixels of the longer side of what is written.
SIZE = 144

# How often a picture is written: once on white, and on grounds of other colours.
GROUNDS = 4


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One picture: its path below the folder of the package, and that folder."""

    root: Path
    path: str

    @property
    def part(self) -> str:
        """The first folder of its path."""
        return self.path.split("/")[0]


def collect(root: Path, most: int | None, seed: int) -> tuple[list[Drawing], list[Outcome]]:
    """Returns the pictures to write, and what is left out.

    Args:
        root: /usr/share/openclipart/png, or another folder with the same folders.
        most: the largest number of pictures; None: all.
        seed: the seed of the choice of pictures out of a long series.

    Raises:
        FileNotFoundError: the folder has no PNG file.
    """
    paths = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.png"))
    if not paths:
        raise FileNotFoundError(
            f"There is no PNG file below {root}. Install the clip art with `apt-get install "
            "openclipart-png`, or name its folder with --openclipart."
        )
    kept, left_out, contents = [], [], set()
    for path in paths:
        reason = _why_not(path)
        if not reason:
            content = hashlib.sha256((root / path).read_bytes()).hexdigest()
            reason = "the same drawing as another" if content in contents else ""
            contents.add(content)
        if reason:
            left_out.append(Outcome("clipart", path.split("/")[0], reason=reason, name=path))
        else:
            kept.append(path)
    series = {}
    for path in kept:
        series.setdefault(_series(path), []).append(path)
    for name, paths_of_series in series.items():
        few = evenly_thinned(paths_of_series, SERIES, seed, name)
        for path in sorted(set(paths_of_series) - set(few)):
            reason = f"more than {SERIES} of a series"
            left_out.append(Outcome("clipart", path.split("/")[0], reason=reason, name=path))
            kept.remove(path)
    return [Drawing(root, path) for path in evenly_thinned(kept, most, seed, "clipart")], left_out


def draw(drawing: Drawing, number: int, output: Path, seed: int) -> list[Outcome]:
    """Writes a picture on white and on grounds of random colours."""
    named = Outcome("clipart", drawing.part, name=drawing.path)
    # Pillow refuses pictures of more pixels than this, even to say how many they have.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(drawing.root / drawing.path) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                millions = opened.width * opened.height / 1e6
                return [dataclasses.replace(named, reason=f"{millions:.0f} megapixels")]
            picture = opened.convert("RGBA").convert("RGBa")
    except (OSError, SyntaxError, ValueError) as error:
        return [dataclasses.replace(named, reason=f"cannot be read: {type(error).__name__}")]
    # Many are drawn in a corner of a page.
    picture = picture.crop(picture.getchannel("a").getbbox())
    picture.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS, reducing_gap=4)
    pixels = np.asarray(picture.convert("RGBA"), np.float32)
    alpha = pixels[..., 3:] / 255
    if alpha.mean() < 0.005:
        return [dataclasses.replace(named, reason="blank")]
    mean = brightness(tuple((pixels[..., :3] * alpha).sum((0, 1)) / alpha.sum()))
    chance = generator(seed, "clipart", drawing.path)
    grounds = [(255, 255, 255)]
    if alpha.mean() < 0.99:
        grounds += [ground(chance, mean, 0.5) for _ in range(GROUNDS - 1)]
    written = []
    for index, under in enumerate(grounds):
        stream = io.BytesIO()
        mixed = pixels[..., :3] * alpha + np.array(under) * (1 - alpha)
        Image.fromarray(np.rint(mixed).astype(np.uint8)).save(stream, "PNG")
        name = os.path.splitext(drawing.path)[0].replace("/", ".")[-80:]
        path = shard("clipart", number * GROUNDS + index, f"{name}.png")
        digest = write(output, path, stream.getvalue())
        written.append(dataclasses.replace(named, path=path, sha256=digest))
    return written


def _why_not(path: str) -> str:
    if is_held_out(path) or path.startswith(_PICKED):
        return "folders of the task clipart"
    for folder, reason in _LEFT_OUT.items():
        if path.startswith(folder + "/"):
            return reason
    return "flag" if _FLAG_NAMES.search(path.split("/")[-1]) else ""


def _series(path: str) -> str:
    return re.sub("[0-9]+", "#", path)

"""The task "emoji": the set fluent-emoji-flat of npm's package @iconify/json."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from bit_keras.data.array_examples import digest_of_arrays, examples_by_class
from bit_keras.data.series import hold_out_series, on_white, series_of, signature
from bit_keras.data.tasks import Task

# Each class and the category of the set that it takes. The category of flags has too few.
CATEGORIES = MappingProxyType(
    {
        "activity": "Activities",
        "animal or plant": "Animals & Nature",
        "food or drink": "Food & Drink",
        "object": "Objects",
        "person": "People & Body",
        "smiley": "Smileys & Emotion",
        "symbol": "Symbols",
        "vehicle or place": "Travel & Places",
    }
)

_PACKAGE = Path("node_modules", "@iconify", "json")
_SET = Path("json", "fluent-emoji-flat.json")

_SIDE = 64

# Pictures whose correlation at 16x16 pixels is higher are of one series. It is near 1, because all
# smileys are yellow discs.
_ALIKE = 0.99

# A picture with one of these endings is that of the name before it in another skin colour.
_SKIN = re.compile("-(light|medium-light|medium|medium-dark|dark)$")

# Words that tell the forms of one picture apart: "man-artist", "woman-artist", "artist"; hearts of
# each colour; clocks at each hour.
_FORMS = {"man", "men", "woman", "women", "person", "people", "boy", "girl", "face", "with", "and"}
_FORMS |= {"in", "a", "left", "right", "up", "down", "pointing", "upwards", "downwards"}
_FORMS |= {"red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"}
_FORMS |= {"grey", "light", "dark", "large", "medium", "small", "first", "last", "full", "new"}
_FORMS |= {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"}
_FORMS |= {"twelve", "quarter", "waning", "waxing", "heavy"}


def load(name: str, *, data_dir: str | os.PathLike | None = None) -> Task:
    """Returns the task of Microsoft's flat emoji: pictures of 64x64 pixels in 8 classes.

    They are drawn from the SVG icons of npm's package @iconify/json (MIT). Other skin colours of a
    picture are left out. Pictures of one series, such as a profession's man and woman, are on the
    same side of the split, in which about 27 % are for the test.

    Args:
        name: the task's name.
        data_dir: the folder of the package, which has the file json/fluent-emoji-flat.json. None
            looks where Node.js does: in `node_modules/@iconify/json` in the working directory and
            the folders above it, in the folders of NODE_PATH, and in `npm root -g`.

    Raises:
        FileNotFoundError: the package is not there.
        ImportError: resvg-py, which draws the pictures, is not installed.
    """
    icons, classes = _icons(_find(name, data_dir))
    try:
        import resvg_py
    except ImportError as error:
        raise ModuleNotFoundError(
            f"The task {name!r} needs resvg-py, which is not installed: "
            'pip install "bit_keras[upstream]"'
        ) from error
    pictures, train, test = {}, [], []
    for icon_names in classes:
        found = {}
        for icon in icon_names:
            drawn = resvg_py.svg_to_bytes(
                svg_string=icons[icon], width=2 * _SIDE, height=2 * _SIDE, skip_system_fonts=True
            )
            picture = on_white(Image.open(io.BytesIO(bytes(drawn))), _SIDE)
            if picture is not None:
                found[icon] = np.asarray(picture)
        names = sorted(found)
        signatures = np.stack([signature(Image.fromarray(found[icon])) for icon in names])
        sides = hold_out_series(series_of(names, series_name, signatures, _ALIKE))
        train.append(sides[0])
        test.append(sides[1])
        pictures |= found
    return Task(
        name=name,
        class_names=tuple(CATEGORIES),
        image_size=(_SIDE, _SIDE),
        train=examples_by_class(train, pictures),
        test=examples_by_class(test, pictures),
        source=digest_of_arrays(*(pictures[icon] for icon in sorted(pictures))),
    )


def series_name(icon: str) -> str:
    """Returns the first word of an icon's name that says what it shows.

    >>> series_name("woman-artist"), series_name("artist"), series_name("cat-face")
    ('artist', 'artist', 'cat')
    """
    words = [word for word in icon.split("-") if word not in _FORMS]
    return words[0] if words else icon


def _find(name: str, data_dir: str | os.PathLike | None) -> Path:
    """Returns the file of the set."""
    looked = []
    for folder in [Path(os.path.expanduser(data_dir))] if data_dir else _places():
        if (folder / _SET).is_file():
            return folder / _SET
        looked.append(str(folder))
    raise FileNotFoundError(
        f"The task {name!r} needs npm's package @iconify/json, which has the file {_SET}; it is "
        f"not in {', '.join(looked)}. Install it in the working directory: npm install "
        "@iconify/json; or give its folder as data_dir."
    )


def _places() -> Iterator[Path]:
    """Yields the folders in which Node.js looks for the package."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        yield folder / _PACKAGE
    for folder in filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep)):
        yield Path(folder).joinpath(*_PACKAGE.parts[1:])
    npm = shutil.which("npm")
    if npm:
        found = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False)
        if found.returncode == 0 and found.stdout.strip():
            yield Path(found.stdout.strip()).joinpath(*_PACKAGE.parts[1:])


def _icons(path: Path) -> tuple[dict[str, str], list[list[str]]]:
    """Returns the SVG text of each icon, and the names of the icons of each class, sorted."""
    content = json.loads(path.read_text("utf-8"))
    width, height = content["width"], content["height"]
    icons = {}
    for name, icon in content["icons"].items():
        box = f"0 0 {icon.get('width', width)} {icon.get('height', height)}"
        start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">'
        if not icon.get("hidden"):
            icons[name] = f"{start}{icon['body']}</svg>"
    classes = []
    for category in CATEGORIES.values():
        names = [name for name in content["categories"][category] if name in icons]
        others = {name for name in names if _SKIN.sub("", name) in icons and _SKIN.search(name)}
        classes.append(sorted(set(names) - others))
    return icons, classes

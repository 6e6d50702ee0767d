"""The icons of npm's package @iconify/json: which sets may be used, and how an icon is drawn."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections import Counter
from pathlib import Path

import icon_names
import numpy as np
import resvg_py
from colours import any_colour, brightness, ground
from outcome import Outcome, evenly_thinned, generator, shard, write
from PIL import Image

# Sets under other licences are left out: those that ask for the same licence (CC-BY-SA, GPL,
# MPL) or forbid commercial use (NC), and any that is not known here.
LICENCES = frozenset(
    [
        "Unlicense",
        "Apache-2.0",
        "BSD-3-Clause",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC0-1.0",
        "ISC",
        "MIT",
        "OFL-1.1",
    ]
)

# Categories of sets of logos: those of "Programming" are mostly the logos of languages and tools.
_LOGO_CATEGORIES = frozenset(["Logos", "Programming"])

_FLAG_SETS = frozenset(["circle-flags", "flag", "flagpack", "cif"])

# Categories inside of a set whose icons are left out, and why.
_CATEGORIES = {
    r"^flags?$": "flag",
    r"brand|logo": "logo",
    r"alpha|letter|typography": "letter or numeral",
}

# The task "emoji" is measured on the set fluent-emoji-flat; its sisters show the same drawings.
_DOWNSTREAM = "fluent-emoji"

# Pixels of a side of a drawn icon.
SIZE = 96

# The share of the side that an icon fills, from and to.
_FILLS = (0.75, 1.0)

_COLOURED = re.compile(r'(fill|stroke|stop-color)[=:]\s*"?\s*(#|rgb|hsl|[a-z]*(white|red|blue))')


@dataclasses.dataclass(frozen=True)
class Icon:
    """One icon.

    Attributes:
        set_name, name: the names of its set and of itself.
        body: what stands inside of its SVG element.
        box: left, top, width and height of its drawing.
        one_colour: if True, it is drawn in one colour, which may be chosen.
    """

    set_name: str
    name: str
    body: str
    box: tuple[float, float, float, float]
    one_colour: bool


def collect(package: Path, most: int | None, seed: int) -> tuple[list[Icon], list[Outcome], dict]:
    """Returns the icons to draw, what is left out, and the description of each set that is used.

    Of the icons of a set whose names consist of the same words (outlined, filled, other sizes)
    one is taken, by chance. If there are too many, all icons of several colours stay.

    Args:
        package: the unpacked folder of @iconify/json.
        most: the largest number of icons; None: all.
        seed: the seed of the choice.

    Raises:
        FileNotFoundError: the folder has no collections.json.
    """
    file = package / "collections.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no file {file}. Expected the unpacked package @iconify/json: `npm pack "
            "@iconify/json@2.2.535`, then `tar -xf` of the file that comes, and its folder "
            "`package` as --iconify."
        )
    sets = json.loads(file.read_text("utf-8"))
    logos = icon_names.logo_names(
        {
            name: _icons(package, name)["icons"]
            for name, about in sets.items()
            if about.get("category") == "Logos"
        }
    )
    icons, left_out, bodies = [], [], set()
    for name, about in sets.items():
        reason = _why_not(name, about)
        if reason:
            left_out += [Outcome("icons", name, reason=reason)] * about["total"]
            continue
        chosen, dropped = _of_set(_icons(package, name), name, about, logos, bodies, seed)
        icons += chosen
        left_out += [Outcome("icons", name, reason=why) for why in dropped.elements()]
    kept = _at_most(icons, most, seed)
    of_kept, of_all = (Counter(icon.set_name for icon in found) for found in (kept, icons))
    for name, count in (of_all - of_kept).items():
        left_out += [Outcome("icons", name, reason="more than --icons")] * count
    return kept, left_out, {name: sets[name] for name in of_kept}


def draw(icon: Icon, number: int, output: Path, seed: int) -> list[Outcome]:
    """Draws an icon on a ground of a random colour and writes it as a PNG file.

    The colours and the margin depend on the seed and on the icon's name alone.
    """
    named = Outcome("icons", icon.set_name, name=icon.name)
    chance = generator(seed, "icon", icon.set_name, icon.name)
    try:
        content = resvg_py.svg_to_bytes(svg_string=_svg(icon, chance), skip_system_fonts=True)
    except ValueError:
        return [dataclasses.replace(named, reason="cannot be drawn")]
    drawn = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"), np.float32)
    alpha = drawn[..., 3:] / 255
    if not 0.01 < alpha.mean() < 0.98:
        return [dataclasses.replace(named, reason="blank")]
    mean = (drawn[..., :3] * alpha).sum((0, 1)) / alpha.sum()
    ink = any_colour(chance) if icon.one_colour else None
    under = ground(chance, brightness(ink or tuple(mean)), 0.5 if icon.one_colour else 0.7)
    if ink:
        picture = _two_colours(alpha[..., 0], under, ink)
    else:
        picture = Image.fromarray(
            np.rint(drawn[..., :3] * alpha + np.array(under) * (1 - alpha)).astype(np.uint8)
        )
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    path = shard("icons", number, f"{icon.set_name}.{icon.name[:80]}.png")
    digest = write(output, path, stream.getvalue())
    return [dataclasses.replace(named, path=path, sha256=digest)]


def _icons(package: Path, name: str) -> dict:
    return json.loads((package / "json" / f"{name}.json").read_text("utf-8"))


def _why_not(name: str, about: dict) -> str:
    """Returns why all icons of a set are left out, or ""."""
    licence = about["license"].get("spdx", "none")
    if licence not in LICENCES:
        return f"licence {licence}"
    if about.get("category") in _LOGO_CATEGORIES:
        return "set of logos"
    if name in _FLAG_SETS:
        return "set of flags"
    return "drawings of the task emoji" if name.startswith(_DOWNSTREAM) else ""


def _of_set(
    data: dict, name: str, about: dict, logos: tuple, bodies: set[str], seed: int
) -> tuple[list[Icon], Counter]:
    """Returns the icons of one set, and how many are left out for which reason."""
    groups, dropped = {}, Counter()
    in_category = _of_categories(data.get("categories", {}))
    for icon, entry in data["icons"].items():
        reason = "hidden in its set" if entry.get("hidden") else in_category.get(icon, "")
        reason = reason or icon_names.why_dropped(icon, *logos)
        if not reason and entry["body"] in bodies:
            reason = "the same drawing as another"
        if reason:
            dropped[reason] += 1
            continue
        bodies.add(entry["body"])
        groups.setdefault(frozenset(icon_names.words(icon)), []).append(icon)
    chosen = []
    for group in groups.values():
        icon = generator(seed, name, *group).choice(group)
        dropped["other style of the same name"] += len(group) - 1
        entry = data["icons"][icon]
        left, top = (entry.get(side, data.get(side, 0)) for side in ("left", "top"))
        width, height = (entry.get(side, data.get(side, 16)) for side in ("width", "height"))
        one_colour = not about.get("palette") and not _COLOURED.search(entry["body"])
        chosen.append(Icon(name, icon, entry["body"], (left, top, width, height), one_colour))
    return chosen, dropped


def _of_categories(categories: dict[str, list[str]]) -> dict[str, str]:
    """Returns the icons that stand in a category of flags, logos or letters, and which it is."""
    return {
        icon: reason
        for category, icons in categories.items()
        for pattern, reason in _CATEGORIES.items()
        if re.search(pattern, category, re.IGNORECASE)
        for icon in icons
    }


def _at_most(icons: list[Icon], most: int | None, seed: int) -> list[Icon]:
    """Returns at most so many icons; all icons of several colours stay if they can."""
    coloured = [icon for icon in icons if not icon.one_colour]
    if most is not None and len(coloured) > most // 2:
        return evenly_thinned(icons, most, seed, "icons")
    others = [icon for icon in icons if icon.one_colour]
    left = None if most is None else most - len(coloured)
    kept = {id(icon) for icon in coloured + evenly_thinned(others, left, seed, "icons")}
    return [icon for icon in icons if id(icon) in kept]


def _svg(icon: Icon, chance) -> str:
    """Returns the icon's SVG, with a random margin around it, in black where it has one colour."""
    left, top, width, height = icon.box
    side = max(width, height) / chance.uniform(*_FILLS)
    x = left + width / 2 - side * chance.uniform(0.47, 0.53)
    y = top + height / 2 - side * chance.uniform(0.47, 0.53)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{SIZE}" height="{SIZE}" viewBox="{x:.4f} {y:.4f} {side:.4f} {side:.4f}" '
        f'color="#000000">{icon.body}</svg>'
    )


def _two_colours(alpha: np.ndarray, under: tuple, ink: tuple) -> Image.Image:
    """Returns a picture with a palette from the ground's colour to that of the drawing."""
    shares = np.linspace(0, 1, 256)[:, None]
    palette = np.rint(np.array(under) * (1 - shares) + np.array(ink) * shares).astype(np.uint8)
    picture = Image.fromarray(np.rint(alpha * 255).astype(np.uint8)).convert("L")
    picture.putpalette(palette.tobytes())
    return picture

"""Which icons are drawn, judged by their names, and the words that their names consist of."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping


def _set(words_of_text: str) -> frozenset[str]:
    return frozenset(words_of_text.split())


# Words of a name that say how an icon is drawn, or that mean nothing without the others.
STYLE = _set(
    """outline outlined rounded round sharp fill filled bold light thin regular duotone duo
    twotone two tone linear line solid broken color colored flat stroke alt variant bulk glyph
    glyphs icon icons remix baseline negative minimalistic simple expressive sm lg xl px dp
    rtl ltr skin ios md bx bxs android essential interface symbol one three four five six
    seven eight nine ten and or with of the in on to for at by from an as is it"""
)

# Words of shapes, which are often drawn around a letter, a numeral or a logo.
_SHAPES = _set("circle square box hexagon rectangle diamond triangle octagon small big")

# A name with one of these words is mostly a picture of letters or numerals.
_LETTERS = _set(
    """letter letters alpha alphabet alphabetical abc abcd numeric numerical numeral numerals
    number numbers digit digits keycap character characters font fonts typography typeface
    uppercase lowercase capital subscript superscript italic underline strikethrough heading
    headline hiragana katakana kanji squared negativesquared regional monogram initials roman
    zero bcd cmyk rgb html css svg pdf php xml json csv png jpg jpeg gif zip sql mp3 mp4 hdr
    hd uhd fps gps ltd usa faq ok lte sos wc atm vip new free abs aa az za 24h lang"""
)

# The colours of the skin of an emoji.
_SKIN = re.compile("(-medium)?(-light|-dark)?-skin-tone")

# The set fxemoji joins the words of its names.
_LETTER_BEGINNINGS = ("regionalindicator", "squared", "negativesquared", "circledideograph", "cjk")

# Letters that are drawn as something else: a cross, a shirt, a turn in a road.
_LETTER_SHAPES = frozenset(["x", "t shirt", "t shirts", "u turn", "x ray", "e mail", "v neck"])

_FLAGS = frozenset(["flag", "flags"])

_LOGOS = frozenset(["logo", "logos", "brand", "brands"])

# Names of companies and programs that are ordinary words in the name of an icon.
ORDINARY = _set(
    """abstract accessible ai ant app app-store apper arm asterisk atlas atom bat block
    bluetooth bolt bonfire boots box bridge buffer c-plus-plus chain chat chef circle cloud
    crayon cursor dash data delta discover dot drizzle drone edge element elements empire
    eraser feather files fire flask flood flow fly fox fuel game gas ghost git glide go grab
    grin group grunt gulp helm hermes hive honey hot ink leaf kick lens lighthouse lightning
    link loop magic man map matrix max maze meta meteor metro mix mobile moon music next note
    octopus one page passport pi plane plus pocket project polygon progress radio railway ram
    ray rebel ring ripple rocket rss ruby rust safe salt satellite scale seat shadow shell
    shortcut signal sketch slides snowflake spark spotlight spring sprint square stack steam
    stylus sushi sync tapas target threads tower train treehouse unity usb user vault vine
    waves wifi yarn zap zoom zero medium readme blender opera"""
)

# A name is a logo if it stands in one of these sets, or in many of the sets of logos. Its first
# word alone is one if nearly all sets of logos have it.
_MAIN_LOGOS = frozenset(["fa7-brands", "fa6-brands", "bxl", "cib"])
_SETS_OF_A_LOGO, _SETS_OF_A_COMPANY = 5, 8


def tokens(name: str) -> list[str]:
    """Returns the parts of an icon's name, without the digits at their ends.

    >>> tokens("music-note3-24-filled")
    ['music', 'note', 'filled']
    """
    parts = [part.rstrip("0123456789") for part in re.split("[^a-z0-9]+", name.lower())]
    return [part for part in parts if part]


def words(name: str) -> tuple[str, ...]:
    """Returns the words that tell what an icon shows, in their order, each once.

    >>> words("arrow-left-circle-24-filled")
    ('arrow', 'left', 'circle')
    """
    found = [
        token for token in tokens(_SKIN.sub("", name)) if token not in STYLE and len(token) > 1
    ]
    return tuple(dict.fromkeys(found))


def logo_names(names_of_sets: Mapping[str, Iterable[str]]) -> tuple[frozenset, frozenset]:
    """Returns the names of logos, and the first words that make any name the name of a logo.

    Args:
        names_of_sets: the names of the icons of each set of logos.
    """
    sets = Counter()
    main = set()
    for name_of_set, names in names_of_sets.items():
        bases = {"-".join(word for word in words(name) if word not in _LOGOS) for name in names}
        sets.update(bases)
        if name_of_set in _MAIN_LOGOS:
            main |= bases
    many = {name for name, count in sets.items() if count >= _SETS_OF_A_LOGO}
    companies = {name for name, count in sets.items() if count >= _SETS_OF_A_COMPANY}
    return frozenset((main | many) - ORDINARY - {""}), frozenset(companies - ORDINARY - {""})


def why_dropped(
    name: str, logos: frozenset = frozenset(), companies: frozenset = frozenset()
) -> str:
    """Returns why an icon is left out, or "" if it is drawn.

    Args:
        name: the icon's name.
        logos, companies: as `logo_names` returns them.

    >>> why_dropped("alpha-b-circle"), why_dropped("flag-of-chad"), why_dropped("house-24-filled")
    ('letter or numeral', 'flag', '')
    """
    parts, rest = tokens(name), words(name)
    if _FLAGS & set(parts):
        return "flag"
    if _LOGOS & set(parts) or "-".join(rest) in logos or (rest and rest[0] in companies):
        return "logo"
    if _shows_letters(name, parts):
        return "letter or numeral"
    return "" if rest else "no word in its name"


def _shows_letters(name: str, parts: list[str]) -> bool:
    if _LETTERS & set(parts) or name.startswith(_LETTER_BEGINNINGS):
        return True
    if any(re.fullmatch("h[1-6]", p) for p in re.split("[^a-z0-9]+", name)):
        return True
    if {"bold", "format"} <= set(parts) or {"bold", "text"} <= set(parts):
        return True
    pairs = {" ".join(pair) for pair in itertools.pairwise(parts)}
    single = any(len(part) == 1 and part not in _LETTER_SHAPES for part in parts)
    if single and not pairs & _LETTER_SHAPES:
        return True
    # A numeral below ten, and nothing else than shapes: "hexagon-3". Ten and above are sizes.
    numeral = re.search(r"(^|[^0-9])[0-9]($|[^0-9])", name)
    return bool(numeral) and set(parts) <= _SHAPES | STYLE


def vocabulary(names: Iterable[str], at_least: int) -> dict[str, int]:
    """Returns the words of the names that at least so many names have, sorted, with that number."""
    counts = Counter(word for name in names for word in words(name))
    return {word: counts[word] for word in sorted(counts) if counts[word] >= at_least}

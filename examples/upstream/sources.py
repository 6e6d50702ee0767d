"""The tables of what was built: licences and counts by source, words, and what was left out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import icon_names
from wallpapers import PACKAGES


class Picture(NamedTuple):
    """One picture that was written.

    Attributes:
        source: "icons", "clipart" or "wallpapers".
        part: the set, folder or package in the source.
        name: the picture's name there.
        path: its file, relative to the output directory.
        sha256: of the file's content.
    """

    source: str
    part: str
    name: str
    path: str
    sha256: str


def write_tables(
    output: Path, pictures: list[Picture], left_out: Counter, sets: dict, word_icons: int
) -> str:
    """Writes sources.json, SOURCES.md, words.txt and words_of_icons.txt.

    Args:
        output: the folder.
        pictures: all pictures in it.
        left_out: how many pictures were left out, by source, part and reason.
        sets: the descriptions of the sets of icons, from collections.json.
        word_icons: the number of icons that must have a word for it to be in words.txt.

    Returns:
        The sha256 of the pictures' paths and contents.
    """
    lines = "\n".join(f"{picture.path} {picture.sha256}" for picture in sorted(pictures))
    digest = hashlib.sha256(lines.encode()).hexdigest()
    rows = _rows(pictures, sets)
    reasons = Counter()
    for (source, _, reason), count in left_out.items():
        reasons[source, reason] += count
    licences = Counter()
    for row in rows:
        licences[row["source"], row["licence"]] += row["pictures"]
    record = {
        "digest": digest,
        "versions": {name: version(name) for name in ("pillow", "resvg-py", "numpy")},
        "sources": rows,
        "licences": [[*keys, count] for keys, count in sorted(licences.items())],
        "left_out": [[*keys, count] for keys, count in sorted(left_out.items())],
    }
    (output / "sources.json").write_text(json.dumps(record, indent=1), "utf-8")
    (output / "SOURCES.md").write_text(_page(rows, licences, reasons, left_out, digest), "utf-8")
    _write_words(output, [picture for picture in pictures if picture.source == "icons"], word_icons)
    return digest


def _rows(pictures: list[Picture], sets: dict) -> list[dict]:
    """Returns the source, part, title, author, licence and address of each part, with its count."""
    counts = Counter((picture.source, picture.part) for picture in pictures)
    originals = Counter((source, part) for source, part, _ in {picture[:3] for picture in pictures})
    licences = {}
    for package, _, licence in PACKAGES:
        licences.setdefault(package, licence)
    rows = []
    for (source, part), count in sorted(counts.items()):
        about = sets.get(part, {}) if source == "icons" else {}
        author = about.get("author", {})
        licence = about.get("license", {})
        row = {
            "source": source,
            "part": part,
            "title": about.get("name", part),
            "author": author.get("name", "see the address"),
            "licence": licence.get("spdx", licences.get(part, "public domain")),
            "address": licence.get("url") or author.get("url", ""),
            "originals": originals[source, part],
            "pictures": count,
        }
        if source != "icons":
            package = "openclipart-png" if source == "clipart" else part
            row["address"] = f"/usr/share/doc/{package}/copyright"
        rows.append(row)
    return rows


def _page(
    rows: list[dict], licences: Counter, reasons: Counter, left_out: Counter, digest: str
) -> str:
    """Returns the text of SOURCES.md."""
    by_source = Counter()
    for row in rows:
        by_source[row["source"]] += row["pictures"]
    by_licence = Counter()
    for (_, part, reason), count in left_out.items():
        if reason.startswith("licence "):
            by_licence[part, reason.removeprefix("licence ")] += count
    parts = [
        "# Pictures for pre-training: where they come from\n",
        "Made by examples/upstream/build.py. The digest of all pictures is "
        f"`{digest}`.\n\n## Licences\n",
        _table(
            ("source", "licence", "pictures"),
            [(*keys, count) for keys, count in sorted(licences.items())],
        ),
        "## Sets of icons, folders of clip art, packages of wallpapers\n",
        _table(
            ("source", "set", "title", "author", "licence", "originals", "pictures", "address"),
            [
                [
                    row[name]
                    for name in (
                        "source",
                        "part",
                        "title",
                        "author",
                        "licence",
                        "originals",
                        "pictures",
                        "address",
                    )
                ]
                for row in rows
            ],
        ),
        "## Left out\n",
        _table(
            ("source", "reason", "pictures"),
            [(*keys, count) for keys, count in sorted(reasons.items())],
        ),
        "## Sets of icons left out for their licence\n",
        _table(
            ("set", "licence", "icons"),
            [(*keys, count) for keys, count in sorted(by_licence.items())],
        ),
    ]
    return "\n".join(parts)


def _table(names: tuple, rows: list) -> str:
    cells = [names, ["---"] * len(names), *rows]
    return "".join(
        f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |\n" for row in cells
    )


def _write_words(output: Path, icons: list[Picture], at_least: int) -> None:
    """Writes words.txt, and words_of_icons.txt in the form that the task "labels:FILE" reads."""
    counts = icon_names.vocabulary((icon.name for icon in icons), at_least)
    (output / "words.txt").write_text(
        "".join(f"{word}\t{count}\n" for word, count in counts.items()), "utf-8"
    )
    lines = []
    for icon in icons:
        words = [word for word in icon_names.words(icon.name) if word in counts]
        if words:
            lines.append("\t".join((icon.path, *words)) + "\n")
    (output / "words_of_icons.txt").write_text("".join(lines), "utf-8")

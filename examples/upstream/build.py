"""Builds the pictures for pre-training from packages that anybody can install.

    pip install -e ".[upstream]"
    npm pack @iconify/json@2.2.535 && tar -xf iconify-json-2.2.535.tgz
    apt-get install openclipart-png gnome-backgrounds plasma-workspace-wallpapers \\
        mate-backgrounds ukui-wallpapers lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
    python examples/upstream/build.py --iconify package --output_dir upstream \\
        --downstream clipart,stamps,emoji,letters,fashion_mnist,digits

OUTPUT_DIR has then
* pictures/icons, pictures/clipart, pictures/wallpapers: the pictures, about 1000 in a folder;
* words_of_icons.txt: the list for `bit-keras pretrain --task labels:OUTPUT_DIR/words_of_icons.txt`,
  and words.txt: its words, each with the number of icons that have it;
* SOURCES.md and sources.json: licences and counts of every source, and what was left out and why;
* nearest.json and nearest.png: the pictures of the downstream tasks that are most like a picture
  of these; pictures that are nearly equal are removed.

The same packages and the same flags give the same pictures, whatever the number of processes: the
digest in sources.json says so. A second call with --downstream only compares, and removes.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import clip_art
import icons
import nearest
import wallpapers
from absl import app, flags
from drawing import in_processes
from outcome import Outcome, evenly_thinned
from sources import Picture, write_tables

ICONIFY = flags.DEFINE_string("iconify", "package", "unpacked folder of npm's @iconify/json")
CLIPART = flags.DEFINE_string(
    "openclipart", "/usr/share/openclipart/png", "folder of Debian's package openclipart-png"
)
SHARE = flags.DEFINE_string(
    "wallpapers", "/usr/share", "folder that has the folders `backgrounds` and `wallpapers`"
)
OUTPUT = flags.DEFINE_string("output_dir", "upstream", "folder to write")
ICONS = flags.DEFINE_integer("icons", 90_000, "largest number of icons", lower_bound=1)
LIMIT = flags.DEFINE_integer(
    "limit", None, "for a trial: about so many pictures of each source", lower_bound=1
)
AT_LEAST = flags.DEFINE_integer(
    "word_icons", 40, "number of icons that must have a word in their names", lower_bound=1
)
SEED = flags.DEFINE_integer("seed", 0, "seed of colours, margins, tiles and choices")
PROCESSES = flags.DEFINE_integer("processes", 2, "number of processes", lower_bound=1)
DOWNSTREAM = flags.DEFINE_list(
    "downstream", [], "tasks of bit_keras whose pictures must not be among those of OUTPUT_DIR"
)


def main(_: list[str]) -> None:
    output = Path(OUTPUT.value)
    began = time.monotonic()
    pictures, left_out, about = _drawn(output)
    same = nearest.earlier(output)["removed"]
    if DOWNSTREAM.value:
        paths = [picture.path for picture in pictures if picture.path not in same]
        same = nearest.check(output, paths, DOWNSTREAM.value)
    for picture in pictures:
        if picture.path in same:
            (output / picture.path).unlink(missing_ok=True)
            reason = f"nearly equal to a picture of {same[picture.path]}"
            left_out[picture.source, picture.part, reason] += 1
    pictures = [picture for picture in pictures if picture.path not in same]
    digest = write_tables(output, pictures, left_out, about, AT_LEAST.value)
    counts = Counter(picture.source for picture in pictures)
    print(
        f"{output}: {', '.join(f'{count} {name}' for name, count in counts.items())}; "
        f"{time.monotonic() - began:.0f} s; digest {digest}. See {output / 'SOURCES.md'}."
    )


def _drawn(output: Path) -> tuple[list[Picture], Counter, dict]:
    """Draws all pictures, or returns what an earlier call with the same flags has drawn.

    Returns:
        The pictures; how many were left out of each source and part for each reason; and the
        descriptions of the sets of icons.

    Raises:
        ValueError: the folder has the pictures of other flags.
    """
    names = ("iconify", "openclipart", "wallpapers", "icons", "limit", "seed")
    options = {name: flags.FLAGS[name].value for name in names}
    record = output / "drawn.json"
    if record.is_file():
        drawn = json.loads(record.read_text("utf-8"))
        if drawn["options"] != options:
            raise ValueError(
                f"{output} has pictures of the flags {drawn['options']}, and this call has "
                f"{options}. Name another --output_dir, or remove the folder."
            )
        print(f"{output} is drawn already.")
        pictures = [Picture(*row) for row in drawn["pictures"]]
        left_out = Counter({tuple(keys): count for *keys, count in drawn["left_out"]})
        return pictures, left_out, drawn["sets"]
    if (output / "pictures").exists():
        print(f"{output / 'pictures'} exists: an earlier call was interrupted. Its files remain.")
    pictures, left_out, sets = _draw(output)
    record.write_text(
        json.dumps(
            {
                "options": options,
                "pictures": pictures,
                "left_out": sorted([*keys, count] for keys, count in left_out.items()),
                "sets": sets,
            }
        ),
        "utf-8",
    )
    return pictures, left_out, sets


def _draw(output: Path) -> tuple[list[Picture], Counter, dict]:
    """Draws the pictures of all sources."""
    seed, limit = SEED.value, LIMIT.value
    of_icons, left_out, sets = icons.collect(Path(ICONIFY.value), ICONS.value, seed)
    of_icons = evenly_thinned(of_icons, limit, seed, "limit")
    of_clip_art, more = clip_art.collect(Path(CLIPART.value), limit, seed)
    of_wallpapers, others = wallpapers.collect(Path(SHARE.value), limit, seed)
    jobs = [
        # The slowest first, so that all processes end at about the same time.
        *((wallpapers.draw, item, number) for number, item in enumerate(of_wallpapers)),
        *((clip_art.draw, item, number) for number, item in enumerate(of_clip_art)),
        *((icons.draw, item, number) for number, item in enumerate(of_icons)),
    ]
    outcomes = in_processes(jobs, PROCESSES.value, output, seed)
    for outcome in outcomes:
        if outcome.source != "icons" and "tile" not in outcome.reason and outcome.reason:
            print(f"{outcome.name}: left out: {outcome.reason}")
    pictures = [
        Picture(outcome.source, outcome.part, outcome.name, outcome.path, outcome.sha256)
        for outcome in outcomes
        if outcome.path
    ]
    return sorted(pictures), _reasons([*left_out, *more, *others, *outcomes]), sets


def _reasons(outcomes: Iterable[Outcome]) -> Counter:
    return Counter(
        (outcome.source, outcome.part, outcome.reason) for outcome in outcomes if outcome.reason
    )


if __name__ == "__main__":
    app.run(main)

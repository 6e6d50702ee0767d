"""Compares the pictures for pre-training with those of downstream tasks, at 16x16 grey pixels."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

# Pictures with a larger correlation are nearly equal, and are removed.
ALIKE = 0.98

# The number of pairs of each task that are kept and drawn.
PAIRS = 10

_SIDE, _THUMBNAIL, _BLOCK = 16, 32, 1024

# A pixel belongs to the plain margin if no channel differs more from the corners.
_MARGIN = 24


def signature(picture: Image.Image) -> np.ndarray:
    """Returns the 16x16 grey pixels of a picture without its plain margin, with mean 0 and norm 1.

    The product of two signatures is their correlation. A plain picture has the signature 0.
    """
    small = _without_margin(picture.convert("RGB")).convert("L")
    values = np.asarray(small.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32).ravel()
    values = values - values.mean()
    norm = np.linalg.norm(values)
    # Less than two levels of grey are noise.
    return values / norm if norm > 2 * _SIDE else np.zeros_like(values)


def earlier(output: Path) -> dict:
    """Returns the record that earlier calls of `check` have left, with the keys tasks and removed.

    The pictures that were removed are there with the name of the task.
    """
    file = output / "nearest.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else {"tasks": {}, "removed": {}}


def check(output: Path, paths: list[str], names: list[str]) -> dict[str, str]:
    """Finds pictures that are nearly equal to one of a task; writes nearest.json and nearest.png.

    Pictures are compared by the absolute correlation of their signatures, because icons have
    colours by chance: dark on light is the same drawing as light on dark.

    Args:
        output: the folder of the pictures for pre-training.
        paths: the pictures, relative to the folder.
        names: names of tasks of bit_keras. A task that cannot be loaded is left out, and said.

    Returns:
        The nearly equal pictures, each with the name of the task, together with those of earlier
        calls.
    """
    ours = np.stack([signature(Image.open(output / path)) for path in tqdm(paths, "signatures")])
    record, drawn = earlier(output), []
    found, tasks = record["removed"], record["tasks"]
    for name in names:
        try:
            signatures, thumbnails, places = _of_task(name)
        except (ImportError, OSError, ValueError) as error:
            print(f"{name} is not compared: {error}")
            tasks[name] = {"not_compared": str(error)}
            continue
        best, nearest, above = _compare(ours, signatures)
        order = np.argsort(-best, kind="stable")[:PAIRS]
        found.update({paths[index]: name for index in above})
        tasks[name] = {
            "pictures": len(best),
            "pictures_above": int((best > ALIKE).sum()),
            "removed_from_upstream": len(above),
            "nearest": [
                [round(float(best[index]), 4), places[index], paths[nearest[index]]]
                for index in order
            ],
        }
        drawn.append(
            (
                name,
                [
                    (thumbnails[index], Image.open(output / paths[nearest[index]]), best[index])
                    for index in order
                ],
            )
        )
        print(
            f"{name}: {tasks[name]['pictures_above']} of {len(best)} pictures have one above "
            f"{ALIKE}; {len(above)} pictures for pre-training are removed."
        )
    record = {"alike": ALIKE, "tasks": tasks, "removed": dict(sorted(found.items()))}
    (output / "nearest.json").write_text(json.dumps(record, indent=1), "utf-8")
    if drawn:
        _sheet(drawn).save(output / "nearest.png")
    return found


def _compare(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Compares signatures, `[N, 256]` and `[M, 256]`.

    Returns:
        The largest absolute correlation of each of theirs, which of ours has it, and which of ours
        are nearly equal to any of theirs.
    """
    best = np.zeros(len(theirs), np.float32)
    nearest = np.zeros(len(theirs), np.int64)
    above = []
    for first in tqdm(range(0, len(ours), _BLOCK), "comparing"):
        product = ours[first : first + _BLOCK] @ theirs.T
        np.abs(product, out=product)
        above += (first + np.flatnonzero(product.max(1) > ALIKE)).tolist()
        index = product.argmax(0)
        value = product[index, np.arange(len(theirs))]
        better = value > best
        best[better], nearest[better] = value[better], first + index[better]
    return best, nearest, above


def _of_task(name: str) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """Returns signatures, small pictures and places ("train 17") of all pictures of a task."""
    import bit_keras

    task = bit_keras.task(name)
    splits = {"train": task.train, "validation": task.validation, "test": task.test}
    signatures, thumbnails, places = [], [], []
    for split, examples in splits.items():
        pictures = _pictures(examples) if examples is not None else ()
        for number, picture in enumerate(pictures):
            signatures.append(signature(picture))
            thumbnails.append(np.asarray(picture.resize((_THUMBNAIL, _THUMBNAIL))))
            places.append(f"{split} {number}")
    return np.stack(signatures), thumbnails, places


def _pictures(examples) -> Iterator[Image.Image]:
    for example in examples.dataset().as_numpy_iterator():
        image = example["image"]
        if isinstance(image, bytes):
            opened = Image.open(io.BytesIO(image)).convert("RGBA")
            white = Image.new("RGBA", opened.size, "white")
            white.alpha_composite(opened)
            yield white.convert("RGB")
        else:
            yield Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]).convert("RGB")


def _without_margin(picture: Image.Image) -> Image.Image:
    """Returns the square around what differs from the corners, if the corners are alike."""
    picture.thumbnail((128, 128), Image.Resampling.BOX)
    pixels = np.asarray(picture, np.int16)
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    if np.ptp(corners, axis=0).max() > _MARGIN:
        return picture
    differs = np.abs(pixels - corners[0]).max(-1) > _MARGIN
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    if not len(rows):
        return picture
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    cut = picture.crop(tuple(map(int, box)))
    side = max(cut.size)
    square = Image.new("RGB", (side, side), tuple(map(int, corners[0])))
    square.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
    return square


def _sheet(tasks: list[tuple[str, list]]) -> Image.Image:
    """Returns a picture with a row of pairs for each task: the task's picture, and the nearest."""
    side, line = 64, 14
    sheet = Image.new("RGB", (PAIRS * (2 * side + 8), len(tasks) * (side + 2 * line)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (name, pairs) in enumerate(tasks):
        top = row * (side + 2 * line)
        pen.text(
            (2, top), f"{name}: its picture, the nearest for pre-training, correlation", "black"
        )
        for column, (thumbnail, nearest, value) in enumerate(pairs):
            left = column * (2 * side + 8)
            theirs = Image.fromarray(thumbnail).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(theirs, (left, top + line))
            sheet.paste(nearest.convert("RGB").resize((side, side)), (left + side, top + line))
            pen.text((left + 2, top + line + side), f"{value:.3f}", "black")
    return sheet

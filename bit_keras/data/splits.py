"""Finds out which subfolders of a folder of images are splits and not classes."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bit_keras.data.image_files import why_hidden

TRAINING, VALIDATION, TEST = "training", "validation", "test"

# The names of split folders, in upper or lower case. A single folder with such a name beside other
# folders is a class, because photographs of trains may be in a folder called "train".
SPELLINGS = {
    TRAINING: ("train", "training"),
    VALIDATION: ("val", "valid", "validation", "dev"),
    TEST: ("test", "testing", "eval", "evaluation"),
}

_KIND = {spelling: kind for kind, spellings in SPELLINGS.items() for spelling in spellings}

_HOW_TO_NAME = (
    "If these are splits, name the training split 'train', the validation split 'val' and the test "
    "split 'test', one folder each, with one subfolder for each class, and move all other folders "
    "elsewhere. If these are classes, give them other names."
)


def find_splits(root: Path) -> dict[str, str]:
    """Returns the split folders in a folder by kind of split: training, validation, test.

    The folder is split if its subfolders have the names of a training split and of a validation
    split, of a test split, or of both (`SPELLINGS`), and there are no others. Hidden subfolders do
    not count.

    Args:
        root: the folder.

    Returns:
        An empty dict if the subfolders are classes.

    Raises:
        ValueError: it cannot be said whether the subfolders are splits or classes.
    """
    names = visible_subfolders(root)
    splits = [name for name in names if name.casefold() in _KIND]
    kinds = {_KIND[name.casefold()] for name in splits}
    if len(splits) == len(names) == len(kinds) > 1 and TRAINING in kinds:
        by_kind = {_KIND[name.casefold()]: name for name in splits}
        return {kind: by_kind[kind] for kind in SPELLINGS if kind in by_kind}
    if len(kinds) > 1 or (splits and len(splits) == len(names)):
        raise ValueError(
            f"{root} has the subfolders {names}, of which {splits} are named like splits: expected "
            f"one training split, a validation split or a test split or both, and no other folder. "
            f"{_HOW_TO_NAME}"
        )
    if any(_is_called_train(name) for name in names) and _have_the_same_subfolders(root, names):
        raise ValueError(
            f"{root} has the subfolders {names}, which look like splits: they all have the same "
            f"subfolders, such as {visible_subfolders(root / names[0])[0]!r}, and hold no files. "
            f"{_HOW_TO_NAME}"
        )
    for name in names:
        _refuse_splits_in_class(root, name)
    return {}


def visible_subfolders(folder: Path) -> list[str]:
    """Returns the names of a folder's subfolders, sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        # For a link to itself, os.path.isdir returns False, but entry.is_dir() raises an error.
        folders = [entry.name for entry in entries if os.path.isdir(entry.path)]
    return sorted(name for name in folders if not why_hidden(name))


def _is_called_train(name: str) -> bool:
    """Returns True if a word in a name begins with "train", as in "train_set" or "2017-train"."""
    return any(word.startswith("train") for word in re.split(r"[^a-z]+", name.casefold()))


def _have_the_same_subfolders(root: Path, names: list[str]) -> bool:
    below = [visible_subfolders(root / name) for name in names]
    if len(names) < 2 or len(below[0]) < 2 or any(each != below[0] for each in below):
        return False
    return not any(_has_files(root / name) for name in names)


def _has_files(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_file() and not why_hidden(entry.name) for entry in entries)


def _refuse_splits_in_class(root: Path, name: str) -> None:
    """Raises a ValueError if a class folder has split folders, as in cat/train and cat/test."""
    inside = [each for each in visible_subfolders(root / name) if each.casefold() in _KIND]
    kinds = {_KIND[each.casefold()] for each in inside}
    if len(kinds) > 1 and TRAINING in kinds:
        raise ValueError(
            f"{root / name} has the subfolders {inside}, which look like splits of the class "
            f"{name!r}: expected PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE. Move the split "
            "folders above the class folders. If they are not splits, give them other names."
        )

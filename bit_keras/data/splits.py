"""Finds out which subfolders of a folder of images are splits and not classes."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from bit_keras.data.image_files import why_hidden

TRAINING, VALIDATION, TEST = "training", "validation", "test"

# Two further kinds, of folders whose names only look like those of splits.
_HELD_OUT, _FOLD = "held out", "fold"

# The names of split folders, in upper or lower case. A single folder with such a name beside other
# folders is a class, because photographs of trains may be in a folder called "train".
SPELLINGS = {
    TRAINING: ("train", "training"),
    VALIDATION: ("val", "valid", "validation", "dev"),
    TEST: ("test", "testing", "eval", "evaluation"),
}

_KIND = {spelling: kind for kind, spellings in SPELLINGS.items() for spelling in spellings}

# Words in the names of split folders, in lower case. They may be joined with an ending from
# `_ENDINGS`: the word "train" is found in "train_set", "trainset", "2017-Train" and "TrainImages2".
_TRAINING_WORDS = (
    *("train", "training", "trn", "learn", "learning", "trainval"),
    *("entrenamiento", "entrainement", "entraînement", "apprentissage", "treino", "treinamento"),
    *("addestramento", "trainings", "lern"),
)
_HELD_OUT_WORDS = (
    *("val", "valid", "validate", "validating", "validation", "dev", "devel", "development"),
    *("test", "testing", "tst", "eval", "evaluate", "evaluation", "holdout", "heldout"),
    *("pred", "predict", "prediction", "query", "gallery", "probe", "unlabeled", "unlabelled"),
    *("prueba", "pruebas", "validacion", "validación", "essai", "teste", "validacao", "validação"),
    *("prova", "validazione", "validierung"),
)
_FOLD_WORDS = ("fold", "folds", "split")
_ENDINGS = ("", "set", "sets", "data", "daten", "images", "imgs", "split")

# Words that say nothing about what images show: "train_images" may be a split, but "test tube" is a
# class.
_FILLERS = (
    *("set", "sets", "data", "dataset", "images", "image", "img", "imgs", "photos", "pictures"),
    *("public", "private", "folder", "dir", "the", "of", "extra", "new", "full", "final", "part"),
)

_WORDS = {
    word + ending: kind
    for kind, words in (
        (TRAINING, _TRAINING_WORDS),
        (_HELD_OUT, _HELD_OUT_WORDS),
        (_FOLD, _FOLD_WORDS),
    )
    for word in words
    for ending in _ENDINGS
}

_HOW_TO_NAME = (
    "If these are splits, name the training split 'train', the validation split 'val' and the test "
    "split 'test', one folder each, with one subfolder for each class, and move all other folders "
    "elsewhere. If these are classes, give them other names."
)


def find_splits(root: Path) -> dict[str, str]:
    """Returns the split folders in a folder by kind of split: training, validation, test.

    The folder is split if its subfolders have the names of a training split and of a validation
    split, of a test split, or of both (`SPELLINGS`), and there are no others. Subfolders that only
    look like splits, such as train_set and test_set with the same subfolders, are refused. Hidden
    subfolders do not count.

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
    _refuse_splits_of_other_names(root, names)
    for name in names:
        _refuse_splits_in_class(root, name)
    return {}


def visible_subfolders(folder: Path) -> list[str]:
    """Returns the names of a folder's subfolders, sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        # For a link to itself, os.path.isdir returns False, but entry.is_dir() raises an error.
        folders = [entry.name for entry in entries if os.path.isdir(entry.path)]
    return sorted(name for name in folders if not why_hidden(name))


def _words(name: str) -> list[str]:
    """Returns the words of a folder's name in lower case: ["public", "test"] for "PublicTest2"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFC", name))
    return re.findall(r"[^\W\d_]+", spaced.casefold())


def _kinds_of_names(names: list[str]) -> dict[str, tuple[str, bool]]:
    """Returns what kind of split each name looks like, for the names with the word of a split.

    Args:
        names: the names of folders that stand beside each other.

    Returns:
        A dict by name: the kind (training, held out, or fold), and True if the other words of the
        name say nothing: they are fillers, or are in all names, as "seg" in "seg_train" and
        "seg_test".
    """
    words = {name: _words(name) for name in names}
    in_all = set.intersection(*map(set, words.values())) if len(names) > 1 else set()
    found = {}
    for name in names:
        kinds = [_WORDS[word] for word in words[name] if word in _WORDS]
        others = [word for word in words[name] if word not in (*_WORDS, *_FILLERS, *in_all)]
        if kinds:
            found[name] = kinds[0], not others
    return found


def _refuse_splits_of_other_names(root: Path, names: list[str]) -> None:
    """Raises a ValueError if folders look like splits by their names or by what is in them."""
    kinds = _kinds_of_names(names)
    if not kinds:
        return
    bare = {name: kind for name, (kind, is_bare) in kinds.items() if is_bare}
    below = {name: _class_folders(root / name) for name in kinds}
    for one, other in itertools.combinations(kinds, 2):
        least = 1 if one in bare and other in bare else 2
        _refuse_shared(root, names, (one, other), _shared(below[one], below[other], least))
    for one in (name for name, kind in bare.items() if kind == TRAINING):
        others = [name for name in names if name != one]
        if not others or any(_has_files(root / name) for name in names):
            continue
        shared = [_shared(below[one], _class_folders(root / name), 2) for name in others]
        if all(shared):
            _refuse_shared(root, names, (one, *others), shared[0])
    if len(bare) == len(names) and {TRAINING, _HELD_OUT} <= set(bare.values()):
        raise ValueError(
            f"{root} has the subfolders {names}, which look like splits by their names. "
            f"{_HOW_TO_NAME}"
        )


def _refuse_shared(root: Path, names: list[str], splits: Sequence[str], shared: set[str]) -> None:
    if shared:
        raise ValueError(
            f"{root} has the subfolders {names}, of which {list(splits)} look like splits: they "
            f"have the same subfolders, such as {min(shared)!r}. {_HOW_TO_NAME}"
        )


def _class_folders(folder: Path) -> set[str]:
    """Returns the names of a folder's subfolders, or of those in the only one, X/X, of its name."""
    inside = visible_subfolders(folder)
    if inside == [folder.name]:
        inside = visible_subfolders(folder / folder.name)
    return {unicodedata.normalize("NFC", name).casefold() for name in inside}


def _shared(one: set[str], other: set[str], least: int) -> set[str]:
    """Returns the common names, if they are at least `least` and half of the smaller set."""
    shared = one & other
    return shared if len(shared) >= max(least, min(len(one), len(other)) / 2) else set()


def _has_files(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_file() and not why_hidden(entry.name) for entry in entries)


def _refuse_splits_in_class(root: Path, name: str) -> None:
    """Raises a ValueError if a class folder has split folders, as in cat/train and cat/test."""
    found = _kinds_of_names(visible_subfolders(root / name))
    inside = {each: kind for each, (kind, is_bare) in found.items() if is_bare}
    if {TRAINING, _HELD_OUT} <= set(inside.values()):
        raise ValueError(
            f"{root / name} has the subfolders {list(inside)}, which look like splits of the class "
            f"{name!r}: expected PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE. Move the split "
            "folders above the class folders. If they are not splits, give them other names."
        )

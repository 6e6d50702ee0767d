"""Which subfolders are splits: every usual spelling, and refusals of what is ambiguous."""

import itertools

import pytest

from bit_keras.data.splits import SPELLINGS, find_splits

TRAINING, VALIDATION, TEST = SPELLINGS.values()


def folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
    return root


def cases(name):
    return (name, name.upper(), name.capitalize())


def test_every_pair_of_spellings_in_any_case_is_a_split(tmp_path):
    pairs = itertools.product(TRAINING, (*VALIDATION, *TEST))
    for number, (train, other) in enumerate(pairs):
        for case, (first, second) in enumerate(zip(cases(train), cases(other), strict=True)):
            root = folders(tmp_path / f"{number}-{case}", f"{first}/cat", f"{second}/cat")
            kind = "validation" if other in VALIDATION else "test"
            assert find_splits(root) == {"training": first, kind: second}


def test_all_three_splits(tmp_path):
    for number, names in enumerate(itertools.product(TRAINING, VALIDATION, TEST)):
        root = folders(tmp_path / str(number), *(f"{name}/cat" for name in names), ".cache")
        found = find_splits(root)
        assert list(found.items()) == list(zip(SPELLINGS, names, strict=True))


@pytest.mark.parametrize(
    "names",
    [
        ("cat", "dog"),
        ("train", "car", "bus"),  # photographs of vehicles
        ("car/red", "car/blue", "train/x.jpg", "bus/red"),
        ("train/red", "train/blue", "car/green", "bus/red"),
        ("training_set",),
        ("testcat", "validate"),
        ("cat/left", "cat/right", "dog/left", "dog/right"),
        ("cat/train", "dog/test"),
    ],
)
def test_classes_are_not_taken_for_splits(tmp_path, names):
    assert find_splits(folders(tmp_path, *names)) == {}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "Training", "test"), "['Training', 'test', 'train'] are named like splits"),
        (("train", "val", "dev", "test"), "'dev'"),
        (("test", "eval", "train"), "are named like splits"),
        (("val", "test"), "expected one training split"),
        (("train",), "expected one training split"),
        (("valid", "dev"), "expected one training split"),
        (("train", "test", "unlabelled"), "no other folder"),
        (("train", "test", "cat", "dog"), "If these are classes, give them other names"),
        (("train_set/a", "train_set/b", "test_set/a", "test_set/b"), "such as 'a'"),
        (("2017-Train/a", "2017-Train/b", "more/a", "more/b"), "name the training split 'train'"),
        (("train/a", "train/b", "holdout/a", "holdout/b"), "look like splits"),
        (("cat/train", "cat/test", "dog/train", "dog/test"), "look like splits of the class 'cat'"),
    ],
)
def test_what_is_ambiguous_is_refused_with_how_to_name_it(tmp_path, names, message):
    with pytest.raises(ValueError, match="names") as error:
        find_splits(folders(tmp_path, *names))
    assert message in str(error.value)

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
        ("cat/2019", "cat/2020", "dog/2019", "dog/2020"),  # by date
        ("cat/camera1", "cat/camera2", "dog/camera1", "dog/camera2"),
        ("cat/cat", "dog/dog"),  # as archives are unpacked
        ("steam train", "test tube"),
        ("train/steam", "train/diesel", "test tube/glass"),
        ("steam train/2019", "steam train/2020", "car/2019", "car/2020"),
        ("valid/front", "valid/back", "invalid/front", "invalid/back"),
        ("test tube", "test card", "trainers", "valve", "devil", "trend"),
        ("test_strip_negative/a", "test_strip_positive/b"),
        ("learn", "teach"),
        ("data", "images", "set"),
        ("1", "2", "3"),
        ("cat/new", "cat/test", "dog/new"),
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


def with_classes(**splits):
    """Returns folders with the first so many of three classes in each split; 0 is a flat folder."""
    return [
        f"{split}/{label}" if label else split
        for split, count in splits.items()
        for label in (("cat", "dog", "emu")[:count] or [None])
    ]


@pytest.mark.parametrize(
    "names",
    [
        with_classes(train=3, validate=2),
        with_classes(train=3, validate=1),
        with_classes(train=3, holdout=2),
        with_classes(train_set=3, test_set=2),
        with_classes(**{"training_set/training_set": 3, "test_set/test_set": 3}),
        with_classes(**{"seg_train/seg_train": 3, "seg_test/seg_test": 3}),
        with_classes(**{"seg_train/seg_train": 3, "seg_test/seg_test": 3, "seg_pred/seg_pred": 0}),
        with_classes(seg_train=3, seg_test=3, seg_pred=0),
        with_classes(Training=3, PublicTest=2, PrivateTest=3),
        with_classes(trn=3, val=3, tst=3),
        with_classes(trn=3, tst=3),
        with_classes(learn=3, test=3),
        with_classes(train=3, test1=0),
        with_classes(train=2, query=3, gallery=3),
        with_classes(fold1=3, fold2=3, fold3=3),
        with_classes(fold_1=3, fold_2=2),
        with_classes(entrenamiento=3, prueba=3),
        with_classes(trainval=3, test=3),
        with_classes(train2017=3, val2017=3),
        with_classes(**{"train ": 3, "test ": 3}),
        with_classes(TrainImages=3, TestImages=3, docs=0),
        with_classes(trainset=3, testset=3),
        with_classes(pets_train=3, pets_test=2, other=0),
        with_classes(train=3, new_ones=2),
        [f"{label}/{split}" for label in ("cat", "dog") for split in ("Train_set", "Test_set")],
        [f"{label}/{label}-{split}" for label in ("cat", "dog") for split in ("train", "val")],
    ],
    ids=str,
)
def test_what_looks_like_splits_of_other_names_is_refused(tmp_path, names):
    with pytest.raises(ValueError, match="look like splits") as error:
        find_splits(folders(tmp_path, *names))
    assert "names" in str(error.value)
    assert "expected" in str(error.value) or "name the training split 'train'" in str(error.value)

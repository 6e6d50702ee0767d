"""The five tasks of the paper's first table, on made-up records of the real builders."""

import pytest
import tensorflow_datasets as tfds
from fabricated_tfds import prepare, read_all, train_and_evaluate

import bit_keras
from bit_keras.data import standard, tasks

# name: (classes, size, training and test images), as they are commonly given.
PUBLISHED = {
    "imagenet2012": (1000, (350, 400), 1_281_167, 50_000),
    "cifar10": (10, (32, 32), 50_000, 10_000),
    "cifar100": (100, (32, 32), 50_000, 10_000),
    "oxford_iiit_pet": (37, (375, 500), 3680, 3669),
    "oxford_flowers102": (102, (500, 500), 1020, 6149),
}

# Every split of the builders, a few records each; another number in each.
SPLITS = {
    "imagenet2012": {"train": 12, "validation": 7, "test": 5},
    "cifar10": {"train": 12, "test": 7},
    "cifar100": {"train": 12, "test": 7},
    "oxford_iiit_pet": {"train": 12, "test": 7},
    "oxford_flowers102": {"train": 12, "test": 7, "validation": 5},
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for name, counts in SPLITS.items():
        prepare(standard.TASKS[name].builder, folder, counts)
    return folder


def test_the_table():
    assert set(standard.TASKS) == set(PUBLISHED) == set(SPLITS)
    names = {entry.prefix for entry in tasks._TASKS if entry.module == "standard"}
    assert names == {*standard.TASKS, *standard.ALIASES}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_task_goes_through_the_pipeline(data_dir, name):
    task = bit_keras.task(name, data_dir=data_dir)
    classes, size, *_ = PUBLISHED[name]
    assert task.name == name
    assert (task.num_classes, task.image_size) == (classes, size)
    assert (task.num_examples, task.num_test_examples) == (12, 7)
    assert task.flip
    assert task.random_crop
    train, test = read_all(task)
    assert len(train) == 8
    assert sorted(test) == [index % classes for index in range(7)]


@pytest.mark.parametrize(
    "name",
    ["oxford_iiit_pet"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED if "pet" not in name],
)
def test_training_and_evaluation(data_dir, name):
    metrics = train_and_evaluate(bit_keras.task(name, data_dir=data_dir))
    assert metrics["num_test_examples"] == 7


@pytest.mark.parametrize(("alias", "name"), standard.ALIASES.items())
def test_aliases_are_the_same_task(data_dir, alias, name):
    task = bit_keras.task(alias, data_dir=data_dir)
    assert task.name == name
    assert task.class_names == bit_keras.task(name, data_dir=data_dir).class_names


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_rule_follows_the_published_sizes(name):
    """The rule of the paper: small images only of CIFAR, 500 steps only of Pets and Flowers."""
    _, size, train, _ = PUBLISHED[name]
    rule = bit_keras.HyperRule.for_task(train, size)
    steps = {"imagenet2012": 20_000, "cifar10": 10_000, "cifar100": 10_000}.get(name, 500)
    assert (rule.steps, rule.crop) == (steps, 128 if "cifar" in name else 384)


def test_imagenet_says_what_to_download(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ILSVRC2012_img_train\.tar"):
        bit_keras.task("imagenet2012", data_dir=tmp_path, manual_dir=tmp_path)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_builders_can_be_prepared(tmp_path, name):
    """Not every version that TFDS lists can be: only the newest, and its default."""
    builder = tfds.builder(standard.TASKS[name].builder, data_dir=tmp_path)
    assert builder.version in (builder.canonical_version, max(builder.versions))

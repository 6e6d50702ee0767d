"""The 19 tasks of VTAB-1k: labels value by value, splits, augmentation, made-up records."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from fabricated_tfds import prepare, read_all, train_and_evaluate

import bit_keras
from bit_keras.data import decoding, vtab
from bit_keras.data.vtab import TASKS

# Split sizes by builder. Looked up in the catalogue of TFDS (docs/catalog/NAME.md): dmlab, kitti
# (3.1.0), oxford_iiit_pet, sun397 (the lines of its three lists), diabetic_retinopathy_detection,
# oxford_flowers102, resisc45, svhn_cropped, dsprites. The others are as they are commonly given;
# caltech101's are of 3.0.0.
PUBLISHED = {
    "caltech101": {"train": 3060, "test": 6084},
    "cifar100": {"train": 50_000, "test": 10_000},
    "dtd": {"train": 1880, "validation": 1880, "test": 1880},
    "oxford_flowers102": {"train": 1020, "validation": 1020, "test": 6149},
    "oxford_iiit_pet": {"train": 3680, "test": 3669},
    "sun397": {"train": 76_128, "validation": 10_875, "test": 21_750},
    "svhn_cropped": {"train": 73_257, "test": 26_032, "extra": 531_131},
    "eurosat": {"train": 27_000},
    "resisc45": {"train": 31_500},
    "patch_camelyon": {"train": 262_144, "validation": 32_768, "test": 32_768},
    "diabetic_retinopathy_detection": {
        "sample": 10,
        "train": 35_126,
        "validation": 10_906,
        "test": 42_670,
    },
    "clevr": {"train": 70_000, "validation": 15_000, "test": 15_000},
    "dmlab": {"train": 65_550, "validation": 22_628, "test": 22_735},
    "dsprites": {"train": 737_280},
    "smallnorb": {"train": 24_300, "test": 24_300},
    "kitti": {"train": 6347, "validation": 423, "test": 711},
}

# key: (where the 200 begin, the test split, its size, classes), computed by hand from those.
EXPECTED = {
    "caltech101": ("train[2754:2954]", "test", 6084, 102),
    "cifar100": ("train[45000:45200]", "test", 10_000, 100),
    "dtd": ("validation[0:200]", "test", 1880, 47),
    "oxford_flowers102": ("validation[0:200]", "test", 6149, 102),
    "oxford_iiit_pet": ("train[2944:3144]", "test", 3669, 37),
    "sun397": ("validation[0:200]", "test", 21_750, 397),
    "svhn": ("train[65931:66131]", "test", 26_032, 10),
    "eurosat": ("train[16200:16400]", "train[21600:]", 5400, 10),
    "resisc45": ("train[18900:19100]", "train[25200:]", 6300, 45),
    "patch_camelyon": ("validation[0:200]", "test", 32_768, 2),
    "diabetic_retinopathy": ("validation[0:200]", "test", 42_670, 5),
    "clevr-count": ("train[63000:63200]", "validation", 15_000, 8),
    "clevr-distance": ("train[63000:63200]", "validation", 15_000, 6),
    "dmlab": ("validation[0:200]", "test", 22_735, 6),
    "dsprites-xpos": ("train[589824:590024]", "train[663552:]", 73_728, 16),
    "dsprites-orientation": ("train[589824:590024]", "train[663552:]", 73_728, 16),
    "smallnorb-azimuth": ("test[0:200]", "test[12150:]", 12_150, 18),
    "smallnorb-elevation": ("test[0:200]", "test[12150:]", 12_150, 9),
    "kitti-distance": ("validation[0:200]", "test", 711, 4),
}

NO_FLIP = {"dsprites-orientation", "dsprites-xpos", "smallnorb-azimuth"}
NO_CROP = {"clevr-count", "clevr-distance", "dmlab", "kitti-distance", "dsprites-xpos"}

# Only the 800 + 200 images and a few for the test: the least that the splits allow.
FEWER = {"train": 800, "validation": 200, "test": 9}
FABRICATED = collections.defaultdict(
    lambda: FEWER,
    {
        "caltech101": {"train": 2000, "test": 9},
        "cifar100": {"train": 2000, "test": 9},
        "svhn_cropped": {"train": 2000, "test": 9},
        "oxford_iiit_pet": {"train": 1000, "test": 9},
        "eurosat": {"train": 1340},
        "resisc45": {"train": 1340},
        "clevr": {"train": 2000, "validation": 9, "test": 3},
        "dsprites": {"train": 2000},
        "smallnorb": {"train": 800, "test": 420},
    },
)


def dataset(key):
    return TASKS[key].builder.split("/")[0].split(":")[0]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for builder in sorted({row.builder for row in TASKS.values()}):
        name = builder.split("/")[0].split(":")[0]
        max_pixel = 1 if name == "dsprites" else 255
        prepare(builder, folder, FABRICATED[name], max_pixel=max_pixel)
    return folder


def test_the_table():
    assert list(TASKS) == list(EXPECTED)
    groups = collections.Counter(row.group for row in TASKS.values())
    assert groups == {"natural": 7, "specialized": 4, "structured": 8}
    natural = {key for key, row in TASKS.items() if row.group == "natural"}
    assert natural == {"caltech101", "cifar100", "dtd", "oxford_flowers102", "oxford_iiit_pet",
                       "sun397", "svhn"}  # fmt: skip
    specialized = {key for key, row in TASKS.items() if row.group == "specialized"}
    assert specialized == {"patch_camelyon", "eurosat", "resisc45", "diabetic_retinopathy"}
    assert {key for key, row in TASKS.items() if not row.flip} == NO_FLIP
    assert {key for key, row in TASKS.items() if not row.random_crop} == NO_CROP
    assert {key for key, row in TASKS.items() if row.pixel_scale != 1} == {
        "dsprites-xpos",
        "dsprites-orientation",
    }


@pytest.mark.parametrize("key", TASKS)
def test_splits(key):
    validation, test, size, _ = EXPECTED[key]
    counts = PUBLISHED[dataset(key)]
    assert TASKS[key].splits(counts) == (f"train[:800]+{validation}", test)
    split, _, start = test.partition("[")
    assert counts[split] - int(start.rstrip(":]") or 0) == size if start else counts[split] == size


@pytest.mark.parametrize("key", TASKS)
def test_the_builders_can_be_prepared(tmp_path, key):
    """Not every version that TFDS lists can be: only the newest, and its default."""
    builder = tfds.builder(TASKS[key].builder, data_dir=tmp_path)
    assert builder.version in (builder.canonical_version, max(builder.versions))


@pytest.mark.parametrize("key", TASKS)
def test_a_task_goes_through_the_pipeline(data_dir, key):
    task = bit_keras.task(f"vtab/{key}", data_dir=data_dir)
    assert task.name == f"vtab/{key}"
    assert task.num_classes == EXPECTED[key][3]
    assert task.num_examples == 1000
    assert (task.flip, task.random_crop) == (key not in NO_FLIP, key not in NO_CROP)
    area = task.image_size[0] * task.image_size[1]
    small = {"cifar100", "svhn", "eurosat", "dsprites-xpos", "dsprites-orientation"}
    assert (area < 96 * 96) == (key in small)
    train, test = read_all(task)
    assert len(train) == 8
    np.testing.assert_array_equal(test, task.test.labels)
    assert len(test) == task.num_test_examples


@pytest.mark.parametrize(
    "key",
    [
        key
        if key in ("dsprites-xpos", "kitti-distance")
        else pytest.param(key, marks=pytest.mark.slow)
        for key in TASKS
    ],
)
def test_training_and_evaluation(data_dir, key):
    task = bit_keras.task(f"vtab/{key}", data_dir=data_dir)
    assert train_and_evaluate(task)["num_test_examples"] == task.num_test_examples


def test_the_training_images_are_the_right_thousand(data_dir):
    """SmallNORB's validation images come from the first half of its test split."""
    task = bit_keras.task("vtab/smallnorb-azimuth", data_dir=data_dir)
    builder = tfds.builder("smallnorb", data_dir=data_dir)

    def azimuths(split):
        return [int(example["label_azimuth"]) for example in builder.as_dataset(split=split)]

    expected = azimuths("train")[:800] + azimuths("test")[:200]
    assert sorted(task.train.labels) == sorted(expected)
    assert sorted(task.test.labels) == sorted(azimuths("test")[210:])


@pytest.mark.parametrize("key", ["dsprites-xpos", "smallnorb-azimuth"])
def test_grey_becomes_rgb_from_0_to_255(data_dir, key):
    task = bit_keras.task(f"vtab/{key}", data_dir=data_dir)
    images = np.stack(
        [decoding.decode(example["image"]) for example in task.train.dataset().take(20)]
    )
    assert images.dtype == np.uint8
    assert images.shape[-1] == 3
    assert (images == images[..., :1]).all()
    if "dsprites" in key:
        assert set(np.unique(images)) == {0, 255}


def objects(**features):
    return {"objects": {key: tf.constant(value) for key, value in features.items()}}


@pytest.mark.parametrize("count", range(3, 11))
def test_clevr_count(count):
    assert vtab.clevr_count(objects(size=[1] * count)) == count - 3


@pytest.mark.parametrize(
    ("depth", "label"),
    [
        (0.1, 0), (7.9, 0), (8.0, 0), (8.01, 1), (8.5, 1), (8.51, 2), (9.0, 2), (9.01, 3),
        (9.5, 3), (9.51, 4), (10.0, 4), (10.01, 5), (99.0, 5), (100.0, 5),
    ],
)  # fmt: skip
def test_clevr_distance(depth, label):
    """Only the third coordinate counts, and of the objects only the nearest."""
    coordinates = [[1.0, 2.0, 200.0], [0.0, 300.0, depth], [3.0, 4.0, depth + 1]]
    assert vtab.clevr_distance(objects(pixel_coords=coordinates)) == label


CAR, VAN, TRUCK, PEDESTRIAN, TRAM = 0, 1, 2, 3, 6


@pytest.mark.parametrize(
    ("types", "metres", "label"),
    [
        ([CAR], [5.0], 0),
        ([CAR], [-3.0], 0),
        ([CAR], [8.0], 0),
        ([CAR], [8.01], 1),
        ([VAN], [20.0], 1),
        ([TRUCK], [20.01], 2),
        ([TRUCK], [90.0], 2),
        ([CAR, VAN, TRUCK], [30.0, 25.0, 12.0], 1),
        ([PEDESTRIAN, CAR], [2.0, 30.0], 2),
        ([PEDESTRIAN, TRAM], [2.0, 30.0], 3),
        ([], [], 3),
    ],
)
def test_kitti_distance(types, metres, label):
    location = np.zeros([len(metres), 3], np.float32)
    location[:, 2] = metres
    example = objects(type=np.array(types, np.int64), location=location)
    assert vtab.kitti_distance(example) == label


def test_dsprites_x_position():
    labels = [
        int(vtab.dsprites_x_position({"label_x_position": tf.constant(x)})) for x in range(32)
    ]
    assert labels == [x // 2 for x in range(32)]


def test_dsprites_orientation():
    labels = [
        int(vtab.dsprites_orientation({"label_orientation": tf.constant(value)}))
        for value in range(40)
    ]
    assert labels == [int(np.floor(value / 2.5)) for value in range(40)]
    assert labels[:6] == [0, 0, 0, 1, 1, 2]
    assert set(labels) == set(range(16))


def test_an_unknown_task():
    with pytest.raises(ValueError, match="Did you mean 'vtab/clevr-count'") as error:
        bit_keras.task("vtab/clevr-counts")
    assert "vtab/kitti-distance" in str(error.value)


def test_manual_downloads(tmp_path):
    with pytest.raises(FileNotFoundError, match="kaggle") as error:
        bit_keras.task("vtab/diabetic_retinopathy", data_dir=tmp_path)
    assert str(tmp_path / "downloads" / "manual") in str(error.value)

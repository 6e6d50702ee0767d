"""Any TFDS dataset as a task: what is read, what is chosen by itself, what is refused."""

import dataclasses
import gzip
import io
import pathlib
import socket
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from fabricated_tfds import png, prepare, train_and_evaluate
from pretraining_data import LABELS, contents, grey_png

import bit_keras
from bit_keras import DownloadError
from bit_keras.checkpoints import reachable
from bit_keras.data import decoding, subsets, tfds_builder, tfds_tasks
from bit_keras.data.tasks import pretraining_task
from bit_keras.training import recipes


def toy(name, **features):
    """Registers a builder of these features; records are written by `prepare`."""

    def info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    return type(
        name,
        (tfds.core.GeneratorBasedBuilder,),
        {
            "__module__": __name__,
            "VERSION": tfds.core.Version("1.0.0"),
            "_info": info,
            "_split_generators": None,
            "_generate_examples": None,
        },
    )


COLOURS = tfds.features.ClassLabel(names=["red", "green", "blue"])
toy("ToyPhotos", photo=tfds.features.Image(), colour=COLOURS)
toy("ToyPair", left=tfds.features.Image(), right=tfds.features.Image(), label=COLOURS)
toy("ToyText", text=tfds.features.Text(), label=COLOURS)
toy("ToyTensor", image=tfds.features.Tensor(shape=(4, 6, 1), dtype=np.uint8), label=COLOURS)
toy("ToyDepth", image=tfds.features.Image(shape=(4, 6, 1), dtype=np.float32), label=COLOURS)


def numbered(index):
    """An image whose red is its number."""
    image = np.zeros([5 + index % 4, 6, 3], np.uint8)
    image[..., 0] = index
    return png(image)


@pytest.fixture
def photos(tmp_path):
    """30 training and 10 test images of different sizes."""
    prepare("toy_photos", tmp_path, {"train": 30, "test": 10}, photo=numbered)
    return tmp_path


def test_a_task(photos):
    task = bit_keras.task("tfds:toy_photos", data_dir=photos)
    assert task.name == "tfds:toy_photos"
    assert task.class_names == ("red", "green", "blue")
    assert (task.num_examples, task.num_test_examples) == (30, 10)
    assert task.flip
    assert task.random_crop
    assert task.image_size == (6, 6)  # the median area is 39
    assert task.train.shuffle_buffer is None


def test_images_stay_encoded_beside_their_labels(photos):
    task = bit_keras.task("tfds:toy_photos:1.*.*", data_dir=photos)
    for examples in (task.train, task.test):
        assert examples.elements().element_spec["image"].dtype == tf.string
        for element, label in zip(examples.dataset(), examples.labels, strict=True):
            number = int(decoding.decode(element["image"])[0, 0, 0])
            assert element["label"] == label == number % 3


def test_the_order_is_fixed_over_many_shards(tmp_path):
    builder = tfds.builder("toy_photos", data_dir=tmp_path)
    records = {"train": [(i, {"photo": numbered(i), "colour": i % 3}) for i in range(50)]}
    builder._split_generators = lambda manager: {name: iter(of) for name, of in records.items()}
    config = tfds.download.DownloadConfig(num_shards=7)
    builder.download_and_prepare(download_config=config)
    assert builder.info.splits["train"].num_shards == 7
    task = bit_keras.task("tfds:toy_photos", data_dir=tmp_path)
    numbers = [
        [int(decoding.decode(element["image"])[0, 0, 0]) for element in task.train.dataset()]
        for _ in range(2)
    ]
    assert numbers[0] == numbers[1]
    np.testing.assert_array_equal(np.array(numbers[0]) % 3, task.train.labels)


def test_few_shot_decodes_no_image(tmp_path):
    """The images cannot even be decoded: one that was touched would fail."""
    broken = {"photo": lambda index: io.BytesIO(b"no image")}
    prepare("toy_photos", tmp_path, {"train": 30, "test": 3}, **broken)
    # The median size, alone, would need pixels.
    builder = tfds_builder.prepared("toy", "toy_photos", tmp_path)
    label = tfds_tasks.class_label(builder.info, "colour")
    reading = tfds_tasks.Reading("photo", label)
    task = tfds_tasks.build("toy", builder, "train", "test", reading, image_size=(5, 5))
    chosen = subsets.few_shot(task, 4, seed=1)
    np.testing.assert_array_equal(np.bincount(chosen.train.labels), [4, 4, 4])
    assert all(element["image"] == b"no image" for element in chosen.train.dataset())


@pytest.mark.parametrize(
    ("counts", "options", "expected"),
    [
        ({"train": 20, "test": 4, "validation": 3}, {}, (20, 4)),
        ({"train": 20, "validation": 3}, {}, (20, 3)),
        ({"train": 20}, {}, (16, 4)),
        ({"train": 20, "test": 4}, {"train_split": "train[:50%]"}, (10, 4)),
        ({"train": 20, "extra": 5}, {"train_split": "extra"}, (4, 1)),
        ({"train": 20}, {"train_split": "train[:5]+train[10:15]", "test_split": "train[15:]"},
         (10, 5)),
    ],
)  # fmt: skip
def test_splits(tmp_path, caplog, counts, options, expected):
    prepare("toy_photos", tmp_path, counts)
    task = bit_keras.task("tfds:toy_photos", data_dir=tmp_path, **options)
    assert (task.num_examples, task.num_test_examples) == expected
    assert len(list(task.train.dataset())) == expected[0]
    assert ("no test split" in caplog.text) == (
        "test" not in counts and "test_split" not in options
    )


def test_which_image_and_which_label(tmp_path):
    counts = {"train": 6, "test": 3}
    prepare("toy_pair", tmp_path, counts, left=numbered)
    with pytest.raises(ValueError, match=r"several features fit: \['left', 'right'\]") as error:
        bit_keras.task("tfds:toy_pair", data_dir=tmp_path)
    assert "right: Image(" in str(error.value)
    assert "another image_key" in str(error.value)
    task = bit_keras.task("tfds:toy_pair", data_dir=tmp_path, image_key="left")
    shapes = [decoding.decode(element["image"]).shape for element in task.test.dataset()]
    assert {shape[1] for shape in shapes} == {6}
    with pytest.raises(ValueError, match=r"expected the label to be .* got label_key='colour'"):
        bit_keras.task("tfds:toy_pair", data_dir=tmp_path, image_key="left", label_key="colour")
    prepare("smallnorb", tmp_path, counts)
    task = bit_keras.task("tfds:smallnorb", data_dir=tmp_path, label_key="label_azimuth")
    assert task.num_classes == 18
    assert bit_keras.task("tfds:smallnorb", data_dir=tmp_path).class_names[-1] == "cars"


@pytest.mark.parametrize("name", ["toy_text", "toy_depth"])
def test_no_image(tmp_path, name):
    depth = {"image": lambda index: np.zeros([4, 6, 1], np.float32)} if name == "toy_depth" else {}
    prepare(name, tmp_path, {"train": 6, "test": 3}, **depth)
    with pytest.raises(ValueError, match="expected the image to be an Image") as error:
        bit_keras.task(f"tfds:{name}", data_dir=tmp_path)
    assert "label: ClassLabel(" in str(error.value)


def test_images_that_are_not_encoded(tmp_path):
    def grey(index):
        return np.full([4, 6, 1], index, np.uint8)

    prepare("toy_tensor", tmp_path, {"train": 6, "test": 3}, image=grey)
    task = bit_keras.task("tfds:toy_tensor", data_dir=tmp_path)
    assert task.image_size == (4, 6)
    for example in task.test.dataset():
        assert example["image"].shape == (4, 6, 3)
        assert int(example["image"][0, 0, 2]) % 3 == example["label"]


def test_a_split_larger_than_memory(photos, monkeypatch):
    monkeypatch.setattr(tfds_tasks, "_SMALL", 1000)
    monkeypatch.setattr(tfds_tasks, "_SHUFFLED", 800)
    task = bit_keras.task("tfds:toy_photos", data_dir=photos)
    assert task.train.labels is None
    size = tfds.builder("toy_photos", data_dir=photos).info.dataset_size
    assert task.train.shuffle_buffer == 800 // -(-size // 40)
    labels = subsets.read_labels(task.train)
    np.testing.assert_array_equal(np.bincount(labels), [10, 10, 10])
    assert subsets.few_shot(task, 2).num_examples == 6


def without_label(index):
    return -1


def test_labels_out_of_range(tmp_path, monkeypatch):
    """TFDS writes -1 where a label was not published."""
    prepare("toy_photos", tmp_path, {"train": 6, "test": 3}, colour=without_label)
    with pytest.raises(ValueError, match=r"'train' has the labels \[-1\], expected 0 to 2"):
        bit_keras.task("tfds:toy_photos", data_dir=tmp_path)
    monkeypatch.setattr(tfds_tasks, "_SMALL", 0)
    monkeypatch.setattr(tfds_tasks, "_median_size", lambda examples: (6, 6))
    task = bit_keras.task("tfds:toy_photos", data_dir=tmp_path)
    with pytest.raises(tf.errors.InvalidArgumentError, match="is not in 0 to 2, but"):
        list(task.train.dataset())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_split": "trian"}, r"'trian' cannot be read.*\n.*train \(30\), test \(10\)"),
        ({"train_split": "train[:"}, "cannot be read"),
        ({"train_split": "train[:31]"}, "incompatible with 30 examples"),
        ({"train_split": "train[:0]"}, "'train.:0.' is empty; expected at least one example"),
        ({"test_split": "train[50%:]"}, "share 15 examples; expected none"),
        ({"train_split": "train+test[:3]"}, "share 3 examples"),
    ],
)
def test_splits_that_cannot_be(photos, options, message):
    with pytest.raises(ValueError, match=message) as error:
        bit_keras.task("tfds:toy_photos", data_dir=photos, **options)
    assert "Task 'tfds:toy_photos'" in str(error.value)


def test_a_part_of_train_needs_a_test_split(tmp_path):
    prepare("toy_photos", tmp_path, {"train": 20})
    with pytest.raises(ValueError, match="was given without test_split"):
        bit_keras.task("tfds:toy_photos", data_dir=tmp_path, train_split="train[:50%]")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tfds:", "such as 'tfds:beans'"),
        ("tfds:bean", "no dataset 'bean'. Did you mean 'beans'?"),
        ("tfds:clevr:3", "a version such as ':3.[*].[*]'"),
        ("tfds:beans:9.9.9", "only: 0.1.0"),
        ("tfds:eurosat/grb", "Its configurations: rgb, all"),
    ],
)
def test_unknown_datasets(tmp_path, name, message):
    with pytest.raises(ValueError, match=message) as error:
        bit_keras.task(name, data_dir=tmp_path)
    assert repr(name) in str(error.value)


def test_files_that_only_a_person_can_download(tmp_path):
    with pytest.raises(FileNotFoundError, match="needs files that TFDS cannot") as error:
        bit_keras.task("tfds:resisc45", data_dir=tmp_path)
    assert f"Expected them in {tmp_path / 'downloads' / 'manual'}" in str(error.value)
    assert "https://1drv.ms" in str(error.value)
    manual = tmp_path / "elsewhere"
    with pytest.raises(FileNotFoundError, match=f"Expected them in {manual}"):
        bit_keras.task("tfds:resisc45", data_dir=tmp_path, manual_dir=manual)
    # Another file than the one that TFDS looks for: its error, and its instructions again.
    manual.mkdir()
    (manual / "notes.txt").touch()
    with pytest.raises(OSError, match="is not prepared in") as error:
        bit_keras.task("tfds:resisc45", data_dir=tmp_path, manual_dir=manual)
    assert "https://1drv.ms" in str(error.value)


def test_a_server_that_cannot_be_reached_is_tried_once_and_for_seconds(tmp_path, monkeypatch):
    tries = []

    def never(address, timeout):
        tries.append(address)
        time.sleep(timeout)
        raise TimeoutError("timed out")

    monkeypatch.delenv("BIT_KERAS_OFFLINE")
    monkeypatch.setattr(reachable, "_unreached", {})
    monkeypatch.setattr(reachable, "_WAIT", 0.1)
    monkeypatch.setattr(socket, "create_connection", never)
    for name in ("cifar10", "vtab/dtd", "cifar10"):
        with pytest.raises(DownloadError, match=r"not prepared in .* cannot be reached") as error:
            bit_keras.task(name, data_dir=tmp_path)
        assert "give the folder that holds it as data_dir" in str(error.value)
        assert "\n" not in str(error.value)
    assert tries == [("www.cs.toronto.edu", 443), ("www.robots.ox.ac.uk", 443)]
    monkeypatch.setenv("BIT_KERAS_OFFLINE", "1")
    with pytest.raises(DownloadError, match="BIT_KERAS_OFFLINE=1 forbids downloading it"):
        bit_keras.task("cifar10", data_dir=tmp_path)


def test_files_that_are_already_downloaded_need_no_network(tmp_path, monkeypatch):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "cifar-10-binary.tar.gz").touch()
    monkeypatch.setattr(tfds.builder_cls("cifar10"), "_split_generators", None)
    with pytest.raises(OSError, match="preparing it failed: TypeError"):
        bit_keras.task("cifar10", data_dir=tmp_path)


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_builder, "_check_network", lambda *_: None)

    def unreachable(self, *args, **kwargs):
        raise ConnectionError("Failed to resolve 'storage.googleapis.com'")

    monkeypatch.setattr(tfds.builder_cls("beans"), "_split_generators", unreachable)
    with pytest.raises(OSError, match="Failed to resolve") as error:
        bit_keras.task("tfds:beans", data_dir=tmp_path)
    assert f"beans/0.1.0 is not prepared in {tmp_path / 'beans' / '0.1.0'}" in str(error.value)
    assert "tensorflow_datasets.builder('beans').download_and_prepare()" in str(error.value)


def test_training_and_evaluation(photos):
    task = bit_keras.task("tfds:toy_photos", data_dir=photos)
    assert train_and_evaluate(task)["num_test_examples"] == 10


FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.slow
def test_fashion_mnist_from_scratch(tmp_path):
    """Real images through TFDS' own builder: all 60 000 to train on, all 10 000 to test."""
    assert FASHION.is_dir(), (
        f"{FASHION} does not exist: apt-get install dataset-fashion-mnist (Debian, Ubuntu)"
    )
    builder = tfds.builder("fashion_mnist", data_dir=tmp_path)
    builder.URL = f"file://{FASHION}/"  # instead of its server
    builder.download_and_prepare()
    task = bit_keras.task("tfds:fashion_mnist", data_dir=tmp_path)
    assert (task.num_examples, task.num_test_examples) == (60_000, 10_000)
    assert task.class_names[0] == "T-shirt/top"
    with gzip.open(FASHION / "t10k-labels-idx1-ubyte.gz") as stream:
        labels = np.frombuffer(stream.read(), np.uint8, offset=8)
    np.testing.assert_array_equal(np.bincount(task.test.labels), np.bincount(labels))
    result = bit_keras.finetune(
        "R14x0.5",
        # Every garment is centred and every shoe points left: augmentation only slows it down.
        dataclasses.replace(task, flip=False, random_crop=False),
        recipes.FROM_SCRATCH.scaled(steps=1500),
        output_dir=tmp_path / "run",
        verbose=False,
    )
    assert result.metrics["num_test_examples"] == 10_000
    assert result.metrics["test_accuracy"] >= 0.85


class Tags(tfds.core.GeneratorBasedBuilder):
    """Images with a sequence of class labels."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        labels = tfds.features.Sequence(tfds.features.ClassLabel(names=["ant", "bee", "cat"]))
        features = {"image": tfds.features.Image(shape=(None, None, 3)), "tags": labels}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(20):
            yield i, {"image": io.BytesIO(grey_png(i)), "tags": list(LABELS[i % 5])}


def test_several_labels_an_image(tmp_path):
    Tags(data_dir=tmp_path).download_and_prepare()
    task = pretraining_task("tfds:tags", data_dir=tmp_path)
    assert task.several_labels
    test, train = contents(task)
    assert len(test) == 4  # the last 20 %, as of other tfds tasks
    assert sorted(test + train) == sorted((i, LABELS[i % 5]) for i in range(20))
    task = pretraining_task(
        "tfds:tags", data_dir=tmp_path, test_split="train[:3]", train_split="train[3:]"
    )
    assert len(contents(task)[0]) == 3
    with pytest.raises(ValueError, match="takes no option 'skip_corrupt'"):
        pretraining_task("tfds:tags", data_dir=tmp_path, skip_corrupt=True)

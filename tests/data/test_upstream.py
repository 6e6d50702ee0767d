"""Data with several labels an image: lists, folders, TFRecord files and TFDS."""

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from array_tasks import array_task
from PIL import Image

from bit_keras.data import pipeline, records
from bit_keras.data.inception_crop import inception_view
from bit_keras.data.unreadable import naming_unreadable
from bit_keras.data.upstream import hold_out, one_label_each, upstream
from bit_keras.training.recipes import RECIPES

RULE = RECIPES["small"].rule(20, steps=3, warmup_steps=0, batch_size=8, crop=8)


def png(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((6, 9, 3), value, "uint8")).save(stream, "png")
    return stream.getvalue()


def contents(task):
    """Pixel value and set of labels of each test and training image, by way of the pipeline."""
    found = []
    for examples in (task.test, task.train):
        variant = dataclasses.replace(task, test=examples)
        of_split = []
        for images, labels in pipeline.test_batches(variant, RULE, 4).as_numpy_iterator():
            assert labels.shape[1] == task.num_classes
            for image, label in zip(images, labels, strict=True):
                assert set(label) <= {0, 1}
                value = round(float(image.mean()) * 127.5 + 127.5)
                of_split.append((value, tuple(np.flatnonzero(label))))
        assert len(of_split) == examples.num_examples
        found.append(of_split)
    return found


LABELS = [(0,), (0, 2), (), (1, 2), (2,)]  # image i has LABELS[i % 5], and the grey value i


@pytest.fixture
def listed(tmp_path):
    names = ("ant", "bee", "cat fish")
    lines = []
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(png(i))
        lines.append("\t".join([f"{i}.png", *(names[k] for k in LABELS[i % 5])]))
    (tmp_path / "list.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path / "list.tsv"


def assert_all_there(task, name):
    assert task.name == name
    assert task.several_labels
    test, train = contents(task)
    assert len(test) == 2
    assert sorted(test + train) == sorted((i, LABELS[i % 5]) for i in range(20))
    batches = list(pipeline.train_batches(task, RULE, view=inception_view(8)).as_numpy_iterator())
    assert [labels.shape for _, labels in batches] == [(8, 3)] * 3
    held, validation = hold_out(task, 0.2, seed=1)
    assert (held.num_examples, validation.num_examples) == (14, 4)
    parts = contents(dataclasses.replace(held, test=validation))
    assert sorted(parts[0] + parts[1]) == sorted(train)


def test_a_list_of_images(listed):
    task = upstream(f"labels:{listed}")
    assert_all_there(task, f"labels:{listed}")
    assert task.class_names == ("ant", "bee", "cat fish")
    other = listed.with_name("other.tsv")
    other.write_text(listed.read_text().replace("4.png\tcat fish", "4.png\tant"))
    assert upstream(f"labels:{other}").source != task.source


def test_a_list_of_one_label_each(listed):
    listed.write_text("".join(f"{i}.png\t{'ab'[i % 2]}\n" for i in range(20)))
    task = upstream(f"labels:{listed}")
    assert not task.several_labels
    test, train = contents(task)
    assert sorted(test + train) == [(i, (i % 2,)) for i in range(20)]


def write_records(folder, count=20, labels=lambda i: LABELS[i % 5]):
    for part in range(2):
        with tf.io.TFRecordWriter(str(folder / f"train-{part:02d}.tfrecord")) as writer:
            for i in range(part * count // 2, (part + 1) * count // 2):
                numbers = tf.train.Int64List(value=labels(i))
                image = tf.train.BytesList(value=[png(i)])
                feature = {
                    "image/encoded": tf.train.Feature(bytes_list=image),
                    "image/class/label": tf.train.Feature(int64_list=numbers),
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
    (folder / "labels.txt").write_text("ant\nbee\ncat\n")


def test_records(tmp_path):
    write_records(tmp_path)
    task = upstream(f"tfrecords:{tmp_path}")
    assert_all_there(task, f"tfrecords:{tmp_path}")
    assert [value for value, _ in contents(task)[0]] == [0, 1]  # the first are the test
    again = upstream("imagenet21k", manual_dir=tmp_path)
    assert contents(again) == contents(task)


def test_records_that_cannot_be_read(tmp_path):
    write_records(tmp_path)
    (tmp_path / "labels.txt").write_text("ant\nbee\n")
    task = upstream(f"tfrecords:{tmp_path}")
    with pytest.raises(tf.errors.InvalidArgumentError, match="a label is not in 0 to 1"):
        contents(task)
    file = tmp_path / "train-01.tfrecord"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"train-01.*ends within record 10"):
        upstream(f"tfrecords:{tmp_path}")
    file.write_bytes(b"no records at all")
    with pytest.raises(ValueError, match="ends within record 1"):
        upstream(f"tfrecords:{tmp_path}")
    (tmp_path / "labels.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels\.txt: expected the name of each class"):
        upstream(f"tfrecords:{tmp_path}")


def test_counting_reads_no_image(tmp_path):
    write_records(tmp_path)
    files = records.find_files(tmp_path)
    assert records.count(files) == sum(1 for _ in tf.data.TFRecordDataset(files)) == 20


def write_under_other_keys(folder, **keys):
    """A record with an image and a label under other names than expected."""
    image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[png(0)]))
    label = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
    with tf.io.TFRecordWriter(str(folder / "x.tfrecord")) as writer:
        for _ in range(3):
            feature = {
                keys.get("image", "image/encoded"): image,
                keys.get("label", "image/class/label"): label,
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    (folder / "labels.txt").write_text("ant\nbee\n")


@pytest.mark.parametrize("keys", [{"label": "label"}, {"image": "image"}])
def test_records_under_other_keys(keys, tmp_path):
    write_under_other_keys(tmp_path, **keys)
    (key,) = keys.values()
    with pytest.raises(ValueError, match=rf"x\.tfrecord: .*\b{key}\b.*; expected image/encoded"):
        upstream(f"tfrecords:{tmp_path}")


def test_records_of_something_else(tmp_path):
    write_under_other_keys(tmp_path)
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        for _ in range(3):
            writer.write(b"no example")
    with pytest.raises(ValueError, match=r"no tf\.train\.Example"):
        upstream(f"tfrecords:{tmp_path}")


def test_a_blank_name_of_a_class(tmp_path):
    write_records(tmp_path)
    (tmp_path / "labels.txt").write_text("ant\nbee\ncat\n\n")
    with pytest.raises(ValueError, match=r"labels\.txt: line 4 of 4 is blank"):
        upstream(f"tfrecords:{tmp_path}")


def test_a_subfolder_is_no_file_of_records(tmp_path):
    write_records(tmp_path)
    (tmp_path / "old.tfrecords").mkdir()
    assert len(records.find_files(tmp_path)) == 2


def test_records_of_one_label_each(tmp_path):
    write_records(tmp_path)
    task = upstream(f"tfrecords:{tmp_path}")
    with pytest.raises(ValueError, match="several labels an image, or none, and the loss is"):
        one_label_each(task, task.train)
    write_under_other_keys(tmp_path)
    for file in tmp_path.glob("train-*"):
        file.unlink()
    task = upstream(f"tfrecords:{tmp_path}")
    checked = dataclasses.replace(task, train=one_label_each(task, task.train))
    (_, labels), *_ = pipeline.train_batches(
        checked, RULE, view=inception_view(8)
    ).as_numpy_iterator()
    np.testing.assert_array_equal(labels, [[0, 1]] * 8)


def test_a_late_record_of_two_labels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("bit_keras.data.upstream._LOOKED_AT", 1)
    write_records(tmp_path, labels=lambda i: (0, 2) if i == 3 else (1,))
    task = upstream(f"tfrecords:{tmp_path}")
    checked = dataclasses.replace(task, train=one_label_each(task, task.train))
    with (
        pytest.raises(
            ValueError,
            match=r"record 3 of .*00\.tfrecord .* takes one label an image, but there are 2",
        ),
        naming_unreadable(lambda: pipeline.train_batches(checked, RULE, view=inception_view(8))),
    ):
        list(pipeline.train_batches(checked, RULE, view=inception_view(8)))


def test_a_folder_of_imagenet21k(tmp_path):
    for i in range(20):
        folder = tmp_path / f"n0{i % 3}"
        folder.mkdir(exist_ok=True)
        (folder / f"{i}.JPEG").write_bytes(png(i))
    (tmp_path / "n00" / ".hidden.png").write_bytes(b"")
    (tmp_path / "n00" / "notes.txt").write_text("")
    task = upstream("imagenet21k", manual_dir=tmp_path)
    assert task.class_names == ("n00", "n01", "n02")
    assert not task.several_labels
    test, train = contents(task)
    assert sorted(test + train) == [(i, (i % 3,)) for i in range(20)]


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
            yield i, {"image": io.BytesIO(png(i)), "tags": list(LABELS[i % 5])}


def test_tfds(tmp_path):
    Tags(data_dir=tmp_path).download_and_prepare()
    task = upstream("tfds:tags", data_dir=tmp_path)
    assert task.several_labels
    test, train = contents(task)
    assert len(test) == 4  # the last 20 %, as of other tfds tasks
    assert sorted(test + train) == sorted((i, LABELS[i % 5]) for i in range(20))
    task = upstream("tfds:tags", data_dir=tmp_path, test_split="train[:3]", train_split="train[3:]")
    assert len(contents(task)[0]) == 3
    with pytest.raises(ValueError, match="take no option 'skip_corrupt'"):
        upstream("tfds:tags", data_dir=tmp_path, skip_corrupt=True)


def test_every_task_is_upstream_data():
    assert upstream("digits").num_classes == 10


def test_hold_out_of_a_task_in_memory():
    task = array_task(np.zeros((10, 4, 4, 3), "uint8"))
    remaining, held = hold_out(task, 0.3, seed=0)
    assert (remaining.num_examples, held.num_examples) == (7, 3)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("imagenet21k", ValueError, "pass the folder that holds it as manual_dir"),
        ("labels:none.tsv", FileNotFoundError, "none.tsv"),
        ("tfrecords:.", FileNotFoundError, "no TFRecord file"),
        ("imagenet21", ValueError, "Unknown task"),
    ],
)
def test_what_is_not_there(name, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        upstream(name)
    with pytest.raises(ValueError, match="take no option"):
        upstream("labels:x", manual_dir="y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists 0 images with 0 classes"),
        ("a.png\tant\nb.png\tant\n", "lists 2 images with 1 classes"),
        ("a.png\tant\nb.png\tbee\n", "begins with 'a.png'"),
        ("a.png ant\nb.png bee\n", "lists 2 images with 0 classes"),
        ("a.png\tant\t\nb.png\tbee\n", r"line 1: .* has a tab with nothing before or after it"),
        ("a.png\tant\n\tbee\n", r"line 2: .* has a tab with nothing"),
        ("a.png\tant\n\nb.png\tbee\n./a.png\tbee\n", r"lists \./a\.png in line 1 and in line 4"),
        (b"\xff\xfe", "no UTF-8 text"),
    ],
)
def test_a_list_that_is_none(text, message, tmp_path):
    file = tmp_path / "list.tsv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        upstream(f"labels:{file}")


def test_spaces_and_a_byte_order_mark_are_no_part_of_names(listed):
    text = "".join(f"{i}.png\t{'ab'[i % 2]}\r\n" for i in range(20)).replace("\tb", "\t b ")
    listed.write_text("\ufeff" + text)
    task = upstream(f"labels:{listed}")
    assert task.class_names == ("a", "b")
    assert not task.several_labels
    test, train = contents(task)
    assert sorted(test + train) == [(i, (i % 2,)) for i in range(20)]


def test_absolute_paths_in_a_list(listed, tmp_path, monkeypatch):
    lines = [f"{listed.parent / str(i)}.png\t{'ab'[i % 2]}\n" for i in range(0, 20, 2)]
    lines += [f"{i}.png\t{'ab'[i % 2]}\n" for i in range(1, 20, 2)]
    listed.write_text("".join(lines))
    test, train = contents(upstream(f"labels:{listed}"))
    assert sorted(test + train) == [(i, (i % 2,)) for i in range(20)]
    monkeypatch.chdir(tmp_path)
    test, train = contents(upstream(f"labels:{listed.name}"))
    assert sorted(test + train) == [(i, (i % 2,)) for i in range(20)]


def test_a_class_without_images(tmp_path):
    for name in ("n0", "n1", "n2"):
        (tmp_path / name).mkdir()
    for i in range(4):
        (tmp_path / f"n{i % 2}" / f"{i}.png").write_bytes(png(i))
    with pytest.raises(ValueError, match="1 of 3 subfolders have no images, such as n2"):
        upstream("imagenet21k", manual_dir=tmp_path)


def test_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="has 0 subfolders with 0 images"):
        upstream("imagenet21k", manual_dir=tmp_path)

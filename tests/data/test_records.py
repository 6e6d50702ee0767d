"""The task "tfrecords:FOLDER": TFRecord files of images and their labels."""

import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf
from pretraining_data import LABELS, RULE, assert_all_there, contents, grey_png

from bit_keras.data import pipeline, records
from bit_keras.data.corrupt_images import naming_unreadable
from bit_keras.data.subsets import one_label_each
from bit_keras.data.tasks import pretraining_task
from bit_keras.data.transforms import inception_view


def write_records(folder, count=20, labels=lambda i: LABELS[i % 5]):
    for part in range(2):
        with tf.io.TFRecordWriter(str(folder / f"train-{part:02d}.tfrecord")) as writer:
            for i in range(part * count // 2, (part + 1) * count // 2):
                numbers = tf.train.Int64List(value=labels(i))
                image = tf.train.BytesList(value=[grey_png(i)])
                feature = {
                    "image/encoded": tf.train.Feature(bytes_list=image),
                    "image/class/label": tf.train.Feature(int64_list=numbers),
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
    (folder / "labels.txt").write_text("ant\nbee\ncat\n")


def test_records(tmp_path):
    write_records(tmp_path)
    task = pretraining_task(f"tfrecords:{tmp_path}")
    assert_all_there(task, f"tfrecords:{tmp_path}")
    assert [value for value, _ in contents(task)[0]] == [0, 1]  # the first are the test
    again = pretraining_task("imagenet21k", manual_dir=tmp_path)
    assert contents(again) == contents(task)


def test_records_that_cannot_be_read(tmp_path):
    write_records(tmp_path)
    (tmp_path / "labels.txt").write_text("ant\nbee\n")
    task = pretraining_task(f"tfrecords:{tmp_path}")
    with pytest.raises(tf.errors.InvalidArgumentError, match="a label is not in 0 to 1"):
        contents(task)
    file = tmp_path / "train-01.tfrecord"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"train-01.*ends within record 10"):
        pretraining_task(f"tfrecords:{tmp_path}")
    file.write_bytes(b"no records at all")
    with pytest.raises(ValueError, match="ends within record 1"):
        pretraining_task(f"tfrecords:{tmp_path}")
    (tmp_path / "labels.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels\.txt\. Expected the name of each class"):
        pretraining_task(f"tfrecords:{tmp_path}")


def test_counting_reads_no_image(tmp_path):
    write_records(tmp_path)
    files = records.find_files(tmp_path)
    assert records.count(files) == sum(1 for _ in tf.data.TFRecordDataset(files)) == 20


def write_under_other_keys(folder, **keys):
    """A record with an image and a label under other names than expected."""
    image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[grey_png(0)]))
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
        pretraining_task(f"tfrecords:{tmp_path}")


def test_records_of_something_else(tmp_path):
    write_under_other_keys(tmp_path)
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        for _ in range(3):
            writer.write(b"no example")
    with pytest.raises(ValueError, match=r"no tf\.train\.Example"):
        pretraining_task(f"tfrecords:{tmp_path}")


def test_a_blank_name_of_a_class(tmp_path):
    write_records(tmp_path)
    (tmp_path / "labels.txt").write_text("ant\nbee\ncat\n\n")
    with pytest.raises(ValueError, match=r"labels\.txt: line 4 of 4 is blank"):
        pretraining_task(f"tfrecords:{tmp_path}")


def test_names_of_classes_that_are_not_utf_8(tmp_path):
    write_records(tmp_path)
    names = tmp_path / "labels.txt"
    names.write_bytes(b"ant\nb\xe9e\ncat\n")
    with pytest.raises(ValueError, match=r"labels\.txt is not .* UTF-8: line 2 has"):
        pretraining_task(f"tfrecords:{tmp_path}")
    names.write_text("\ufeffant\nbee\ncat\n", "utf-8")
    assert pretraining_task(f"tfrecords:{tmp_path}").class_names == ("ant", "bee", "cat")


def test_records_in_a_folder_whose_name_is_not_utf_8(tmp_path):
    (tmp_path / "plain").mkdir()
    write_records(tmp_path / "plain")
    folder = (tmp_path / "plain").rename(tmp_path / os.fsdecode(b"\xe9"))
    assert len(contents(pretraining_task(f"tfrecords:{folder}"))[0]) == 2


def test_a_subfolder_is_no_file_of_records(tmp_path):
    write_records(tmp_path)
    (tmp_path / "old.tfrecords").mkdir()
    assert len(records.find_files(tmp_path)) == 2


def test_records_of_one_label_each(tmp_path):
    write_records(tmp_path)
    task = pretraining_task(f"tfrecords:{tmp_path}")
    with pytest.raises(ValueError, match="several labels or with none, but the loss"):
        one_label_each(task, task.train)
    write_under_other_keys(tmp_path)
    for file in tmp_path.glob("train-*"):
        file.unlink()
    task = pretraining_task(f"tfrecords:{tmp_path}")
    checked = dataclasses.replace(task, train=one_label_each(task, task.train))
    (_, labels), *_ = pipeline.train_batches(
        checked, RULE, view=inception_view(8)
    ).as_numpy_iterator()
    np.testing.assert_array_equal(labels, [[0, 1]] * 8)


def test_a_late_record_of_two_labels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("bit_keras.data.subsets._LOOKED_AT", 1)
    write_records(tmp_path, labels=lambda i: (0, 2) if i == 3 else (1,))
    task = pretraining_task(f"tfrecords:{tmp_path}")
    checked = dataclasses.replace(task, train=one_label_each(task, task.train))
    with (
        pytest.raises(
            ValueError,
            match=r"record 3 of .*00\.tfrecord .* one label for each image, but the image has 2",
        ),
        naming_unreadable(lambda: pipeline.train_batches(checked, RULE, view=inception_view(8))),
    ):
        list(pipeline.train_batches(checked, RULE, view=inception_view(8)))

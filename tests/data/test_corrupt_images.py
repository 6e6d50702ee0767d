"""Images and records that cannot be read are named, whatever the order they are read in."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from array_tasks import array_task

from bit_keras.data import corrupt_images, pipeline, records
from bit_keras.data.corrupt_images import naming_unreadable
from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task, pretraining_task
from bit_keras.data.transforms import inception_view
from bit_keras.training.recipes import RECIPES

COUNT = 20
RULE = RECIPES["small"].rule(COUNT, steps=6, warmup_steps=0, batch_size=4, crop=8)


def png(value):
    return tf.io.encode_png(np.full((6, 9, 3), value, "uint8")).numpy()


@pytest.fixture
def listed(tmp_path):
    for i in range(COUNT):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    lines = [f"{i}.png\t{'ab'[i % 2]}\n" for i in range(COUNT)]
    (tmp_path / "list.tsv").write_text("".join(lines))
    return tmp_path / "list.tsv"


def write_records(folder, labels, image=png):
    with tf.io.TFRecordWriter(str(folder / "x.tfrecord")) as writer:
        for i, label in enumerate(labels):
            feature = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image(i)])),
                "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    (folder / "labels.txt").write_text("ant\nbee\n")
    return folder / "x.tfrecord"


def train_batches(task, step=0):
    return pipeline.train_batches(task, RULE, start_step=step, view=inception_view(RULE.crop))


def read(task):
    """The test images, and then as fit does, the training images."""
    tested = pipeline.test_batches(task, RULE.crop, 4)
    with naming_unreadable(lambda: tested):
        list(tested)
    done = 0
    with naming_unreadable(lambda: train_batches(task, done)):
        for _ in train_batches(task):
            done += 1


BROKEN = {
    "truncated": (png(0)[:40], "cannot be read: "),
    "empty": (b"", "cannot be read: the file is empty"),
    "missing": (None, "cannot be read: .*No such file"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("victim", [0, 7, 19])
def test_a_broken_file_is_named(name, victim, listed):
    content, message = BROKEN[name]
    task = pretraining_task(f"labels:{listed}")
    path = listed.with_name(f"{victim}.png")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path} {message}") as raised:
        read(task)
    assert "--skip_corrupt" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "{{" not in str(raised.value)


def test_a_record_with_a_wrong_label_is_named(tmp_path):
    labels = [i % 2 for i in range(COUNT)]
    labels[13] = 2
    file = write_records(tmp_path, labels)
    with pytest.raises(
        ValueError, match=rf"record 13 of {file} cannot be read: a label is not in 0 to 1, but 2\."
    ):
        read(pretraining_task(f"tfrecords:{tmp_path}"))


def test_a_record_with_a_broken_image_is_named(tmp_path):
    image = {11: b"This is no image."}
    labels = [i % 2 for i in range(COUNT)]
    file = write_records(tmp_path, labels, lambda i: image.get(i, png(i)))
    with pytest.raises(ValueError, match=rf"record 11 of {file} cannot be read: "):
        read(pretraining_task(f"tfrecords:{tmp_path}"))


def test_a_record_with_a_flipped_byte_is_named(tmp_path):
    file = write_records(tmp_path, [i % 2 for i in range(COUNT)])
    content = bytearray(file.read_bytes())
    content[int(len(content) * 16.5 / COUNT)] ^= 1
    file.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"what follows record 15 of {file} cannot be read: corrupted record"
    ):
        read(pretraining_task(f"tfrecords:{tmp_path}"))


def test_an_image_without_a_file_is_called_by_its_task():
    images = tf.constant([png(0), b"broken"])
    examples = Examples(
        2,
        lambda: tf.data.Dataset.from_tensor_slices({"image": images, "label": [0, 1]}),
        lambda element: element,
    )
    with pytest.raises(ValueError, match="mine: an image cannot be read"):
        read(Task("mine", ("a", "b"), (6, 9), examples, examples))


def test_only_the_images_at_hand_are_read_again(listed):
    task = pretraining_task(f"labels:{listed}")
    reads = []

    def read_one(element):
        tf.py_function(lambda: reads.append(0), [], [])
        return task.train.read(element)

    examples = dataclasses.replace(task.train, read=read_one)
    batches = train_batches(dataclasses.replace(task, train=examples))
    with (
        pytest.raises(tf.errors.InvalidArgumentError, match="the network's"),
        naming_unreadable(lambda: batches),
    ):
        raise tf.errors.InvalidArgumentError(None, None, "the network's fault")
    assert len(reads) == 2 * RULE.batch_size


@pytest.mark.parametrize("of_pipeline", [True, False])
def test_another_error_stays_what_it_is(of_pipeline):
    task = array_task(np.zeros((4, 8, 8, 3), "uint8"))
    batches = pipeline.test_batches(task, RULE.crop, 2) if of_pipeline else tf.data.Dataset.range(3)
    with (
        pytest.raises(tf.errors.InvalidArgumentError, match="not the data"),
        naming_unreadable(lambda: batches),
    ):
        raise tf.errors.InvalidArgumentError(None, None, "not the data")


def test_broken_images_of_a_list_are_skipped_on_request(listed, monkeypatch):
    warnings = []
    monkeypatch.setattr(
        corrupt_images.logging, "warning", lambda text, *args: warnings.append(text % args)
    )
    monkeypatch.setattr(corrupt_images, "_CHUNK", 3)
    whole = pretraining_task(f"labels:{listed}", skip_corrupt=True)
    assert whole.source == pretraining_task(f"labels:{listed}").source
    assert not warnings
    listed.with_name("4.png").write_bytes(png(4)[:40])
    listed.with_name("9.png").unlink()
    task = pretraining_task(f"labels:{listed}", skip_corrupt=True)
    assert task.num_examples + task.num_test_examples == COUNT - 2
    assert task.source != whole.source
    read(task)
    assert [name in text for name, text in zip(("4.png", "9.png"), warnings, strict=True)]
    found = {}
    for examples in (task.train, task.test):
        for element in examples.elements().as_numpy_iterator():
            found[element["path"].decode().rpartition("/")[2]] = element["label"]
    assert found == {f"{i}.png": i % 2 for i in range(COUNT) if i not in (4, 9)}


def test_skip_corrupt_of_imagenet21k(tmp_path):
    for name in ("n0", "n1"):
        (tmp_path / name).mkdir()
        for i in range(5):
            (tmp_path / name / f"{i}.png").write_bytes(png(i))
    (tmp_path / "n0" / "2.png").write_bytes(b"")
    task = pretraining_task("imagenet21k", manual_dir=tmp_path, skip_corrupt=True)
    assert task.num_examples + task.num_test_examples == 9
    read(task)


def test_skip_corrupt_is_for_image_files(tmp_path):
    write_records(tmp_path, [0, 1, 0])
    with pytest.raises(ValueError, match=r"skip_corrupt \(--skip_corrupt\) is for image files"):
        pretraining_task("imagenet21k", manual_dir=tmp_path, skip_corrupt=True)


def test_each_record_knows_its_place(tmp_path):
    write_records(tmp_path, [0, 1, 0])
    (tmp_path / "x.tfrecord").rename(tmp_path / "a.tfrecord")
    write_records(tmp_path, [1, 1])
    elements = records.elements(records.find_files(tmp_path)).as_numpy_iterator()
    places = [(element["path"].decode()[-10:], element["number"]) for element in elements]
    assert places == [("a.tfrecord", i) for i in range(3)] + [("x.tfrecord", i) for i in range(2)]

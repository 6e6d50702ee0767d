"""What a network is pre-trained on: every task of `tasks.py`, and images with several labels.

imagenet21k             in manual_dir: one subfolder of images a class, or TFRecord files
tfrecords:FOLDER        TFRecord files in a folder, of one or several labels an image
labels:FILE             images that a text file lists, each with its labels
tfds:DATASET            also where its label is a sequence of class labels
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from bit_keras.data import image_list, records, subsets, tasks, tfds_builder, tfds_tasks
from bit_keras.data.tasks import Examples, Task
from bit_keras.data.tfds_tasks import Label

# big_vision keeps 51 200 images of ImageNet-21k from training, `configs/bit_i21k.py`; of a small
# data set that would be too many.
_HELD_OUT, _HELD_OUT_FRACTION = 51_200, 0.1

# The images differ in size, and none is looked at: as in ILSVRC-2012, "ImageNet large scale visual
# recognition challenge", section 3.1. Only fine-tuning hangs on it.
_TYPICAL_SIZE = (350, 400)

# Records that tell whether images have one label: they are read at each start.
_LOOKED_AT = 100


def upstream(name: str, **options: Any) -> Task:
    """Returns the data of a name, for `bit_keras.pretrain`.

    Args:
        name: a name for `bit_keras.task`, or one of those above. Where such data have no test
            split, a tenth of the images, but 51 200 at most, is one: of TFRecord files the first,
            else drawn at random, always the same.
        **options: what this kind of data takes: `manual_dir` of imagenet21k; `skip_corrupt` of
            image files, which opens all of them once; of tfds: those of `bit_keras.task`, with
            `label_key` to choose the labels.

    Raises:
        ValueError: an unknown name or option, or data that cannot be used.
        OSError: data that is not there.
    """
    for form, load in _LOADERS.items():
        if name == form or (form.endswith(":") and name.startswith(form)):
            return load(name, name.removeprefix(form), **options)
    return tasks.task(name, **options)


def hold_out(task: Task, fraction: float, seed: int = 0) -> tuple[Task, Examples]:
    """Returns the task without some of its training examples, and these.

    Of examples that come as a stream in no particular order, the first ones: to pass over the
    others at each evaluation would read all of them. Else those of `subsets.hold_out`, whose
    arguments and errors these are.
    """
    if task.train.shuffle_buffer is None:
        return subsets.hold_out(task, fraction, seed)
    all_, count = task.train, round(fraction * task.num_examples)
    if not 0 < count < task.num_examples:
        raise ValueError(
            f"{task.name}: held_out={fraction} of {task.num_examples} training examples is {count} "
            "of them; expected at least one held out and one to train on. Choose another held_out."
        )
    held_out = dataclasses.replace(
        all_, num_examples=count, elements=lambda: all_.elements().take(count), labels=None
    )
    train = dataclasses.replace(
        all_,
        num_examples=task.num_examples - count,
        elements=lambda: all_.elements().skip(count),
        labels=None,
    )
    return dataclasses.replace(task, train=train), held_out


def one_label_each(task: Task, examples: Examples) -> Examples:
    """Returns examples of a task with several labels as if each had one, which is checked.

    Only a stream of which nobody knows the numbers of labels is taken: its first examples are
    looked at here, and each as it is read.

    Raises:
        ValueError: an image has none or several.
    """
    counts = {1}
    if examples.shuffle_buffer is not None:
        some = examples.dataset().take(_LOOKED_AT)
        counts = {len(example["label"]) for example in some.as_numpy_iterator()}
    if examples.shuffle_buffer is None or counts != {1}:
        raise ValueError(
            f"{task.name} has several labels an image, or none, and the loss is 'softmax', which "
            "takes one. Pass the loss 'sigmoid' (--loss sigmoid), or the recipe BiT-M."
        )

    def read(element: Any) -> dict[str, tf.Tensor]:
        example = examples.read(element)
        count = tf.size(example["label"])
        is_one = tf.debugging.Assert(
            tf.equal(count, 1),
            ["the loss 'softmax' takes one label an image, but there are", count],
        )
        with tf.control_dependencies([is_one]):
            return {**example, "label": tf.reshape(example["label"], [])}

    return dataclasses.replace(examples, read=read)


def _load_imagenet21k(
    name: str, _: str, *, manual_dir=None, skip_corrupt=False, **options: Any
) -> Task:
    _refuse_options(name, options, "manual_dir", "skip_corrupt")
    if manual_dir is None:
        raise ValueError(
            f"{name!r} cannot be downloaded by this program: get it from image-net.org and pass "
            "the folder that holds it as manual_dir (--manual_dir): one subfolder of images a "
            "class, such as n02119789, or TFRecord files."
        )
    folder = Path(manual_dir).expanduser()
    if not records.find_files(folder):
        return _of_list(name, image_list.read_folder(folder), skip_corrupt)
    if skip_corrupt:
        raise ValueError(
            f"skip_corrupt is for image files, and {folder} holds TFRecord files: write those anew "
            "without what cannot be decoded."
        )
    return _of_records(name, folder)


def _load_records(name: str, folder: str, **options: Any) -> Task:
    _refuse_options(name, options)
    return _of_records(name, Path(folder).expanduser())


def _load_list(name: str, file: str, *, skip_corrupt=False, **options: Any) -> Task:
    _refuse_options(name, options, "skip_corrupt")
    return _of_list(name, image_list.read_list(Path(file).expanduser()), skip_corrupt)


def _load_tfds(
    name: str, dataset: str, *, label_key=None, data_dir=None, manual_dir=None, **options: Any
) -> Task:
    builder = tfds_builder.prepared(name, dataset, data_dir, manual_dir)
    several = _sequences_of_labels(builder.info)
    if label_key is None and len(several) == 1:
        label_key = several[0]
    if label_key not in several:
        where = {"data_dir": data_dir, "manual_dir": manual_dir, "label_key": label_key}
        return tasks.task(name, **where, **options)
    _refuse_options(name, options, "train_split", "test_split", "image_key")
    names = tuple(builder.info.features[label_key].feature.names)
    label = Label({label_key: True}, lambda example: example[label_key], names, several=True)
    return tfds_tasks.with_label(name, builder, label, **options)


def _refuse_options(name: str, options: dict[str, Any], *known: str) -> None:
    for option in options.keys() - set(known):
        raise ValueError(
            f"The data {name!r} take no option {option!r}; they take {', '.join(known) or 'none'}."
        )


def _sequences_of_labels(info) -> list[str]:
    from tensorflow_datasets import features

    return [
        key
        for key, feature in info.features.items()
        if isinstance(feature, features.Sequence)
        and isinstance(feature.feature, features.ClassLabel)
    ]


def _of_list(name: str, listing: image_list.ImageList, skip_corrupt: bool) -> Task:
    if skip_corrupt:
        listing = listing.without_corrupt()
    examples = Examples(
        num_examples=len(listing.paths),
        elements=listing.elements,
        read=lambda element: {
            "image": tf.io.read_file(element["path"]),
            "label": element["label"],
        },
        labels=listing.single_labels,
    )
    everything = Task(
        name,
        listing.class_names,
        _TYPICAL_SIZE,
        train=examples,
        test=examples,
        several_labels=listing.single_labels is None,
        source=f"list sha256: {listing.digest}",
    )
    return _drawn_at_random(everything)


def _drawn_at_random(task: Task) -> Task:
    fraction = _num_held_out(task.num_examples) / task.num_examples
    remaining, held_out = subsets.hold_out(task, fraction)
    return dataclasses.replace(remaining, test=held_out)


def _of_records(name: str, folder: Path) -> Task:
    files = records.find_files(folder)
    if not files:
        raise FileNotFoundError(
            f"There is no TFRecord file in {folder}: expected names with 'tfrecord' in them."
        )
    class_names = records.read_class_names(folder)
    total = records.count(files)
    records.check_keys(files)
    held_out = _num_held_out(total)

    def examples(count: int, part: Callable[[tf.data.Dataset], tf.data.Dataset]) -> Examples:
        return Examples(
            num_examples=count,
            elements=lambda: part(records.elements(files)),
            read=lambda element: records.parse(element["record"], len(class_names)),
            shuffle_buffer=records.SHUFFLE_BUFFER,
        )

    return Task(
        name,
        class_names,
        _TYPICAL_SIZE,
        train=examples(total - held_out, lambda all_: all_.skip(held_out)),
        test=examples(held_out, lambda all_: all_.take(held_out)),
        several_labels=True,
        source=f"{len(files)} TFRecord files of {total} images: "
        f"{os.path.basename(files[0])} to {os.path.basename(files[-1])}",
    )


def _num_held_out(total: int) -> int:
    if total < 2:
        raise ValueError(f"There are {total} images; expected at least two, one for the test.")
    return max(1, min(_HELD_OUT, int(_HELD_OUT_FRACTION * total)))


_LOADERS = {
    "imagenet21k": _load_imagenet21k,
    "tfrecords:": _load_records,
    "labels:": _load_list,
    "tfds:": _load_tfds,
}

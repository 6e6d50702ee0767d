"""Any dataset of TensorFlow Datasets as a task: `tfds:beans`, `tfds:oxford_flowers102:2.*.*`."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from absl import logging

from bit_keras.data import tfds_builder, transforms
from bit_keras.data.decoding import composite, decode
from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder, DatasetInfo

# The largest size in bytes of a split whose labels are all read when the task is made, and which is
# shuffled as a whole in memory. CIFAR is a third of this size, and ImageNet is 300 times as large.
_SMALL = 2**29

# Size in bytes of the shuffle buffer for splits above `_SMALL` bytes, enough for 2200 images of
# ImageNet. A process that reads batches of 512 images at 128 pixels then needs less than 2 GB, of
# which TensorFlow takes 0.8 GB (tests/benchmarks/pipeline_memory.py).
_SHUFFLED = 2**28

# Assumed bytes of an image if the size of the dataset is not known: the mean of ImageNet (144 GiB
# divided by 1 281 167 images).
_TYPICAL_BYTES = 120_000

# The median area is computed from this number of images if images differ in size. The first images
# are a fair sample, because TFDS stores images in random order.
_MEASURED = 64


@dataclasses.dataclass(frozen=True)
class Label:
    """How the label of a TFDS example is computed from its features, and the names of the classes.

    Attributes:
        features: the features that the function needs, as `tfds.decode.PartialDecoding` takes
            them: `{"label": True}`, or `{"objects": {"pixel_coords"}}`.
        function: traceable function from a dict of these features, decoded, to a scalar integer
            in `[0, len(class_names))`, or to a vector of them.
        class_names: a name for each label.
        several: True if the function returns a vector, because an image has several labels.
    """

    features: Mapping[str, Any]
    function: Callable[[dict], tf.Tensor]
    class_names: tuple[str, ...]
    several: bool = False


@dataclasses.dataclass(frozen=True)
class Reading:
    """Says which feature of a TFDS example is the image, and how the label is computed.

    Attributes:
        image_key: the name of the feature that is the image.
        label: how the label is computed.
        pixel_scale: factor of the pixels; 255 for a dataset that stores 0 and 1.
    """

    image_key: str
    label: Label
    pixel_scale: int = 1

    @property
    def features(self) -> dict[str, Any]:
        """The features of a TFDS example that are decoded; all others are skipped."""
        return {self.image_key: True, **self.label.features}


def load(
    name: str,
    dataset: str,
    *,
    train_split: str | None = None,
    test_split: str | None = None,
    image_key: str | None = None,
    label_key: str | None = None,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
) -> Task:
    """Returns a TFDS dataset as a task; downloads and prepares the dataset at its first use.

    Images stay encoded, and features that are not needed are not parsed. Grey images become RGB.
    Labels of a split of more than half a gibibyte are checked only when they are read.

    Args:
        name: the task's name.
        dataset: the name in TFDS: `NAME`, `NAME/CONFIG`, `NAME:3.*.*` or `NAME/CONFIG:3.*.*`.
        train_split: a split in the syntax of TFDS, such as `train[:80%]`; None is `train`.
        test_split: a split as well. None is `test`; a dataset without it is tested on
            `validation`, or else on the last 20 % of the training split, and a warning says so.
        image_key: the name of the feature that is the image: a `tfds.features.Image`, or a uint8
            tensor `[H, W, C]` of 1, 3 or 4 channels. None is the dataset's supervised key, else
            `image`, else the only image.
        label_key: the name of the feature that is the label, a `tfds.features.ClassLabel`. None
            is the dataset's supervised key, else `label`, else the only ClassLabel.
        data_dir: where TFDS keeps its datasets; None is `~/tensorflow_datasets`.
        manual_dir: where the files are that TFDS cannot download.

    Raises:
        ValueError: an unknown dataset, split or feature, an empty split, splits that overlap, or
            a label out of range.
        OSError: the dataset is not prepared and cannot be prepared.
    """
    builder = tfds_builder.prepared(name, dataset, data_dir, manual_dir)
    label = class_label(builder.info, _choose_feature(name, builder.info, "label", label_key))
    return _with_label(name, builder, label, train_split, test_split, image_key)


def load_for_pretraining(
    name: str,
    dataset: str,
    *,
    label_key: str | None = None,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
    **options: str,
) -> Task:
    """Returns a task for pre-training, which has several labels per image if the dataset has them.

    The label is a sequence of `tfds.features.ClassLabel` if `label_key` names such a feature, or
    if `label_key` is None and the dataset has exactly one. Arguments and errors are those of
    `load`.
    """
    from tensorflow_datasets import features

    builder = tfds_builder.prepared(name, dataset, data_dir, manual_dir)
    sequences = {
        key: feature.feature.names
        for key, feature in builder.info.features.items()
        if isinstance(feature, features.Sequence)
        and isinstance(feature.feature, features.ClassLabel)
    }
    key = next(iter(sequences)) if label_key is None and len(sequences) == 1 else label_key
    if key not in sequences:
        where = {"data_dir": data_dir, "manual_dir": manual_dir, "label_key": label_key}
        return load(name, dataset, **where, **options)
    label = Label({key: True}, itemgetter(key), tuple(sequences[key]), several=True)
    return _with_label(name, builder, label, **options)


def _with_label(
    name: str,
    builder: DatasetBuilder,
    label: Label,
    train_split: str | None = None,
    test_split: str | None = None,
    image_key: str | None = None,
) -> Task:
    train, test = _choose_splits(name, builder, train_split, test_split)
    key = _choose_feature(name, builder.info, "image", image_key)
    return build(name, builder, train, test, Reading(key, label))


def class_label(info: DatasetInfo, key: str) -> Label:
    """Returns the `Label` for the feature `key`, which is a `tfds.features.ClassLabel`."""
    return Label({key: True}, itemgetter(key), tuple(info.features[key].names))


def build(
    name: str,
    builder: DatasetBuilder,
    train: str,
    test: str,
    reading: Reading,
    image_size: tuple[int, int] | None = None,
    **augmentation: bool,
) -> Task:
    """Returns the task of a prepared TFDS dataset.

    Args:
        name: the task's name.
        builder: the builder of the dataset.
        train: the split to train on, in the syntax of TFDS.
        test: the split to report the accuracy on.
        reading: how an example becomes an image and a label.
        image_size: height and width of a dataset whose images differ in size; None measures some
            of the images and takes the median.
        **augmentation: `flip` and `random_crop` of the task.

    Raises:
        ValueError: a split is unknown or empty, both splits share examples, or a label is out of
            range.
    """
    tfds_builder.count_examples(name, builder, train)
    tfds_builder.count_examples(name, builder, test)
    tfds_builder.check_disjoint(name, builder, train, test)
    examples = _examples(name, builder, train, reading)
    height, width = builder.info.features[reading.image_key].shape[:2]
    fixed = None if None in (height, width) else (height, width)
    return Task(
        name=name,
        class_names=reading.label.class_names,
        image_size=fixed or image_size or _median_size(examples),
        train=examples,
        test=_examples(name, builder, test, reading),
        several_labels=reading.label.several,
        source=f"{builder.info.full_name}, train: {train}, test: {test}, image: "
        f"{reading.image_key}, label: {', '.join(reading.label.features)}",
        **augmentation,
    )


def _choose_splits(
    task: str, builder: DatasetBuilder, train: str | None, test: str | None
) -> tuple[str, str]:
    splits = builder.info.splits
    train = train or "train"
    if test or "test" in splits:
        return train, test or "test"
    if "validation" in splits:
        logging.warning(
            "Task %s: the dataset has no test split, so the test uses the split 'validation'.", task
        )
        return train, "validation"
    if train not in splits and "[" in train:
        raise ValueError(
            f"Task {task!r}: {builder.info.full_name} has no test split, and train_split={train!r} "
            "was given without test_split. Give both, such as test_split='train[80%:]'."
        )
    logging.warning(
        "Task %s: the dataset has no test split, so the test uses the last 20 %% of %r.",
        task,
        train,
    )
    return f"{train}[:80%]", f"{train}[80%:]"


def _is_image(feature) -> bool:
    from tensorflow_datasets import features

    if isinstance(feature, features.Image):
        is_readable = feature.np_dtype != np.float32
    else:
        is_readable = type(feature) is features.Tensor and feature.np_dtype == np.uint8
    return is_readable and len(feature.shape) == 3 and feature.shape[-1] in (1, 3, 4)


def _is_label(feature) -> bool:
    from tensorflow_datasets import features

    return isinstance(feature, features.ClassLabel) and bool(feature.num_classes)


# Maps "image" and "label" to a function that checks whether a TFDS feature can be used for it, the
# text that describes such a feature in error messages, and the feature's index in TFDS'
# supervised_keys.
_FEATURES = {
    "image": (_is_image, "an Image, or a uint8 Tensor [H, W, C], with 1, 3 or 4 channels", 0),
    "label": (_is_label, "a ClassLabel with a known number of classes", 1),
}


def _choose_feature(task: str, info: DatasetInfo, kind: str, asked: str | None) -> str:
    """Returns the name of a TFDS dataset's image or label feature: as asked, or the likeliest."""
    fits, expected, place = _FEATURES[kind]
    fitting = [key for key, feature in info.features.items() if fits(feature)]
    supervised = info.supervised_keys[place] if info.supervised_keys else None
    only = fitting if len(fitting) == 1 else []
    for key in [asked] if asked else [supervised, kind, *only]:
        if key in fitting:
            return key
    if fitting and not asked:
        found = f"several features fit: {fitting}"
    else:
        found = f"got {kind}_key={asked!r}" if asked else "no feature fits"
    listing = "".join(f"\n  {key}: {feature!r}" for key, feature in info.features.items())
    raise ValueError(
        f"Task {task!r}: expected the {kind} to be {expected}; {found}. Give another "
        f"{kind}_key (--{kind}_key), or another dataset. The features of {info.full_name}:{listing}"
    )


def _examples(task: str, builder: DatasetBuilder, split: str, reading: Reading) -> Examples:
    count = tfds_builder.count_examples(task, builder, split)
    example_bytes = _mean_bytes(builder.info)
    is_small = count * example_bytes <= _SMALL
    reads_labels = is_small and not reading.label.several
    return Examples(
        num_examples=count,
        elements=lambda: _elements(task, builder, split, reading),
        read=lambda element: {**element, "image": _rgb(element["image"], reading.pixel_scale)},
        labels=_labels(task, builder, split, reading.label) if reads_labels else None,
        # TFDS stores examples in random order, so a buffer that holds a part of them shuffles them
        # well enough.
        shuffle_buffer=None if is_small else _SHUFFLED // example_bytes,
    )


def _mean_bytes(info: DatasetInfo) -> int:
    return math.ceil(info.dataset_size / info.splits.total_num_examples) or _TYPICAL_BYTES


def _elements(task: str, builder: DatasetBuilder, split: str, reading: Reading) -> tf.data.Dataset:
    """Returns a dataset of images and labels; images that are stored encoded are not decoded."""

    def element(example: dict) -> dict[str, tf.Tensor]:
        label = tf.cast(reading.label.function(example), tf.int64)
        label = transforms.checked_label(
            label, len(reading.label.class_names), f"Task {task!r}: a label of {split!r}"
        )
        return {"image": example[reading.image_key], "label": label}

    return _read(builder, split, reading.features, encoded=reading.image_key).map(
        element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def _labels(task: str, builder: DatasetBuilder, split: str, label: Label) -> np.ndarray:
    """Returns the labels of a TFDS split in the order of its images, without reading the images."""
    dataset = _read(builder, split, label.features).map(label.function)
    labels = np.fromiter(itertools.chain(*dataset.batch(1024).as_numpy_iterator()), np.int64)
    wrong = sorted(set(labels.tolist()) - set(range(len(label.class_names))))
    if wrong:
        raise ValueError(
            f"Task {task!r}: the split {split!r} has the labels {wrong}, expected 0 to "
            f"{len(label.class_names) - 1}. TFDS writes -1 for labels that were never published. "
            "Name another split (train_split, test_split)."
        )
    return labels


def _read(
    builder: DatasetBuilder, split: str, features: dict[str, Any], encoded: str | None = None
) -> tf.data.Dataset:
    import tensorflow_datasets as tfds

    is_encoded = encoded and isinstance(builder.info.features[encoded], tfds.features.Image)
    return builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders=tfds.decode.PartialDecoding(
            features, {encoded: tfds.decode.SkipDecoding()} if is_encoded else None
        ),
        # The automatic cache of TFDS is off, because the pipeline has its own buffers, and
        # TensorFlow warns about a cache that is not read to its end. The files are read one after
        # the other, because 16 readers left 1 GB of unused memory in the allocator's arenas.
        read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
    )


def _rgb(image: tf.Tensor, pixel_scale: int) -> tf.Tensor:
    """Returns an image as RGB, or an encoded image unchanged if its pixels are not to be scaled."""
    if pixel_scale != 1:
        return decode(image) * tf.constant(pixel_scale, tf.uint8)
    if image.dtype == tf.string or image.shape[-1] == 3:
        return image
    return composite(image)


def _median_size(examples: Examples) -> tuple[int, int]:
    """Returns (height, width) of a square with the median area of a task's first images."""
    some = examples.dataset().take(_MEASURED)
    images = some.map(lambda example: tf.shape(decode(example["image"])))
    areas = [height * width for height, width, _ in images.as_numpy_iterator()]
    side = math.isqrt(int(np.median(areas)))
    return side, side

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

from bit_keras.data import pipeline, tfds_builder
from bit_keras.data.tasks import Examples, Task

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder, DatasetInfo

# A split of up to so many bytes is read whole where that helps: for its labels when the task is
# made, and into memory to be shuffled. CIFAR takes a third of it, ImageNet has 300 times as much.
_SMALL = 2**29

# Of a larger one so many bytes are held to be shuffled: 2200 images of ImageNet. With it a process
# that reads batches of 512 at 128 pixels stays below 2 GB, of which 0.8 GB are TensorFlow
# (tests/benchmarks/pipeline_memory.py).
_SHUFFLED = 2**28

# For a dataset that does not tell its size: an image of ImageNet (144 GiB by 1 281 167 images).
_TYPICAL_BYTES = 120_000

# Where images differ in size, of so many the median is taken: TFDS stores them in random order.
_MEASURED = 64


@dataclasses.dataclass(frozen=True)
class Label:
    """The label of an example, as a function of some of its features.

    Attributes:
        features: the features that it needs, as `tfds.decode.PartialDecoding` takes them:
            `{"label": True}`, or `{"objects": {"pixel_coords"}}`.
        function: traceable, from a dict of these features, decoded, to a scalar integer in
            `[0, len(class_names))`, or to a vector of several.
        class_names: a name for each label.
        several: whether it is a vector.
    """

    features: Mapping[str, Any]
    function: Callable[[dict], tf.Tensor]
    class_names: tuple[str, ...]
    several: bool = False


@dataclasses.dataclass(frozen=True)
class Reading:
    """How an example of a TFDS dataset becomes an image and a label.

    Attributes:
        image_key: the feature that is the image.
        label: the label.
        pixel_scale: pixels are multiplied by this; 255 for a dataset that stores 0 and 1.
    """

    image_key: str
    label: Label
    pixel_scale: int = 1

    @property
    def features(self) -> dict[str, Any]:
        """The features to parse: no other is."""
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
    """Returns a dataset of TFDS as a task; it is downloaded and prepared if it was not yet.

    Images stay encoded, and features that are not needed are not parsed. Grey images become
    RGB. Labels of a split of more than half a gibibyte are checked only as they are read.

    Args:
        name: the task's name.
        dataset: as TFDS writes it: `NAME`, `NAME/CONFIG`, `NAME:3.*.*` or `NAME/CONFIG:3.*.*`.
        train_split: as TFDS writes it, such as `train[:80%]`; None is `train`.
        test_split: None is `test`, else `validation`, else the last 20 % of the training split
            are held out; what is taken instead of `test` is logged.
        image_key: the feature that is the image: a `tfds.features.Image`, or a uint8 tensor
            `[H, W, C]`, with 1 or 3 channels; None: the supervised key, `image`, or the only one.
        label_key: the feature that is the label, a `tfds.features.ClassLabel`; None: likewise.
        data_dir: where TFDS keeps its datasets; None is `~/tensorflow_datasets`.
        manual_dir: where files lie that TFDS cannot download.

    Raises:
        ValueError: an unknown dataset, split or feature, an empty split, splits that overlap, or
            a label out of range.
        OSError: the dataset is not prepared and cannot be.
    """
    if not dataset:
        raise ValueError(f"The task {name!r} lacks its dataset: write {name + 'beans'!r}.")
    builder = tfds_builder.prepared(name, dataset, data_dir, manual_dir)
    label = class_label(builder.info, _choose_feature(name, builder.info, "label", label_key))
    return with_label(name, builder, label, train_split, test_split, image_key)


def with_label(
    name: str,
    builder: DatasetBuilder,
    label: Label,
    train_split: str | None = None,
    test_split: str | None = None,
    image_key: str | None = None,
) -> Task:
    """Returns the task of a prepared dataset and a label; the other arguments are `load`'s."""
    train, test = _choose_splits(name, builder, train_split, test_split)
    key = _choose_feature(name, builder.info, "image", image_key)
    return build(name, builder, train, test, Reading(key, label))


def class_label(info: DatasetInfo, key: str) -> Label:
    """Returns the label that a `tfds.features.ClassLabel` holds."""
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
        builder: of the dataset.
        train: the split to train on, as TFDS writes it.
        test: the split to report on.
        reading: how an example becomes an image and a label.
        image_size: height and width, where images differ; None is the median of some.
        **augmentation: `flip` and `random_crop` of the task.

    Raises:
        ValueError: a split that is unknown, empty or not disjoint, or a label out of range.
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
        logging.warning("Task %s: no test split, so 'validation' is the test.", task)
        return train, "validation"
    if train not in splits and "[" in train:
        raise ValueError(
            f"Task {task!r}: {builder.info.full_name} has no test split, and train_split is "
            f"{train!r}: expected a test_split beside it. Give one, such as 'train[80%:]'."
        )
    logging.warning("Task %s: no test split, so the last 20 %% of %r are the test.", task, train)
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


# What a feature may be: (whether it fits, what was expected, its place in supervised_keys).
_FEATURES = {
    "image": (_is_image, "an Image, or a uint8 Tensor [H, W, C], of 1, 3 or 4 channels", 0),
    "label": (_is_label, "a ClassLabel of a known number of classes", 1),
}


def _choose_feature(task: str, info: DatasetInfo, kind: str, asked: str | None) -> str:
    """Returns the key that was asked for, or the one that is meant without asking."""
    fits, expected, place = _FEATURES[kind]
    fitting = [key for key, feature in info.features.items() if fits(feature)]
    supervised = info.supervised_keys[place] if info.supervised_keys else None
    only = fitting if len(fitting) == 1 else []
    for key in [asked] if asked else [supervised, kind, *only]:
        if key in fitting:
            return key
    found = f"which one is not clear of {fitting}" if fitting and not asked else f"got {asked!r}"
    listing = "".join(f"\n  {key}: {feature!r}" for key, feature in info.features.items())
    raise ValueError(
        f"Task {task!r}: expected as its {kind} {expected}; {found}. Give another "
        f"{kind}_key, or another dataset. The features of {info.full_name}:{listing}"
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
        # TFDS stores examples in random order: that of an epoch need not be perfect.
        shuffle_buffer=None if is_small else _SHUFFLED // example_bytes,
    )


def _mean_bytes(info: DatasetInfo) -> int:
    return math.ceil(info.dataset_size / info.splits.total_num_examples) or _TYPICAL_BYTES


def _elements(task: str, builder: DatasetBuilder, split: str, reading: Reading) -> tf.data.Dataset:
    """Returns images, encoded where they are stored so, with their labels."""

    def element(example: dict) -> dict[str, tf.Tensor]:
        label = tf.cast(reading.label.function(example), tf.int64)
        last = len(reading.label.class_names) - 1
        in_range = tf.debugging.Assert(
            tf.reduce_all((label >= 0) & (label <= last)),
            [f"Task {task!r}: a label of {split!r} is not in 0 to {last}, but", label],
        )
        with tf.control_dependencies([in_range]):
            return {"image": example[reading.image_key], "label": tf.identity(label)}

    return _read(builder, split, reading.features, encoded=reading.image_key).map(
        element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def _labels(task: str, builder: DatasetBuilder, split: str, label: Label) -> np.ndarray:
    """Returns the labels, in the order of the elements; no image is parsed."""
    dataset = _read(builder, split, label.features).map(label.function)
    labels = np.fromiter(itertools.chain(*dataset.batch(1024).as_numpy_iterator()), np.int64)
    wrong = sorted(set(labels.tolist()) - set(range(len(label.class_names))))
    if wrong:
        raise ValueError(
            f"Task {task!r}: the split {split!r} has the labels {wrong}, expected 0 to "
            f"{len(label.class_names) - 1}. TFDS writes -1 where the label was not published: "
            "name another split."
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
        # The pipeline keeps what it needs; a cache that is not read to its end warns. And one file
        # after the other: what 16 readers leave behind in the allocator's arenas grew to 1 GB.
        read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
    )


def _rgb(image: tf.Tensor, pixel_scale: int) -> tf.Tensor:
    """Returns an encoded image as it is, if nothing needs its pixels: else uint8 `[H, W, 3]`."""
    if pixel_scale != 1:
        return pipeline.decode(image) * tf.constant(pixel_scale, tf.uint8)
    if image.dtype == tf.string or image.shape[-1] == 3:
        return image
    return image[..., :3] if image.shape[-1] == 4 else tf.image.grayscale_to_rgb(image)


def _median_size(examples: Examples) -> tuple[int, int]:
    """Returns the side of a square of the median area, twice."""
    some = examples.dataset().take(_MEASURED)
    images = some.map(lambda example: tf.shape(pipeline.decode(example["image"])))
    areas = [height * width for height, width, _ in images.as_numpy_iterator()]
    side = math.isqrt(int(np.median(areas)))
    return side, side

"""The 19 tasks of VTAB-1k, each with 1000 training images, as one table.

Every task trains on 800 images of its training split and 200 of its validation split, and is
tested on its whole test split. Source: "A Large-scale Study of Representation Learning with the
Visual Task Adaptation Benchmark" (arXiv 1910.04867) and its code, the folder `data/` of
google-research/task_adaptation, which comments here call the benchmark's code.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping
from types import MappingProxyType

import tensorflow as tf

from bit_keras.data import tfds_builder, tfds_tasks
from bit_keras.data.tasks import Task
from bit_keras.data.tfds_tasks import Label

GROUPS = NATURAL, SPECIALIZED, STRUCTURED = "natural", "specialized", "structured"

# The numbers of images that VTAB-1k takes from the training split and from the validation split;
# the benchmark's code calls this choice "train800val200".
NUM_TRAIN = 800
NUM_VALIDATION = 200

# The boundaries of the intervals of distances that are the classes of two tasks. An interval
# excludes its lower boundary and includes its upper boundary (`clevr.py` and `kitti.py` of the
# benchmark's code).
CLEVR_EDGES = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
KITTI_EDGES = (-100.0, 8.0, 20.0, 999.0)

# A scene of CLEVR has 3 to 10 objects (arXiv 1612.06890, section 3).
_MIN_OBJECTS, _MAX_OBJECTS = 3, 10

# The vehicles Car, Van and Truck are the first three of KITTI's types of objects.
_VEHICLE_TYPES = 3

# The distance in metres that images without vehicles get. It is larger than the last boundary of
# the distance classes, so these images are a class of their own.
_NO_VEHICLE = 1000.0


def bucket(value: tf.Tensor, edges: tuple[float, ...]) -> tf.Tensor:
    """Returns the index `i`, int64, of the interval `(edges[i], edges[i + 1]]` that has the value.

    A value up to the first edge gives -1, and one above the last edge `len(edges) - 1`.
    """
    return tf.reduce_sum(tf.cast(tf.constant(edges) < value, tf.int64)) - 1


def clevr_count(example: dict) -> tf.Tensor:
    """Returns the class of a CLEVR scene, 0 to 7: its number of objects minus 3."""
    return tf.size(example["objects"]["size"], out_type=tf.int64) - _MIN_OBJECTS


def clevr_distance(example: dict) -> tf.Tensor:
    """Returns the class of a CLEVR scene, 0 to 5: the distance interval of the nearest object."""
    return bucket(tf.reduce_min(example["objects"]["pixel_coords"][:, 2]), CLEVR_EDGES)


def kitti_distance(example: dict) -> tf.Tensor:
    """Returns a KITTI image's class: the nearest vehicle's distance interval, 3 for no vehicle."""
    objects = example["objects"]
    metres = objects["location"][:, 2]
    is_vehicle = objects["type"] < _VEHICLE_TYPES
    return bucket(tf.reduce_min(tf.where(is_vehicle, metres, _NO_VEHICLE), axis=0), KITTI_EDGES)


def dsprites_x_position(example: dict) -> tf.Tensor:
    """Returns the class of a dSprites image, 0 to 15: half of its horizontal position (0 to 31)."""
    return example["label_x_position"] // 2


def dsprites_orientation(example: dict) -> tf.Tensor:
    """Returns the class of a dSprites image, 0 to 15: floor(orientation / 2.5)."""
    return example["label_orientation"] * 2 // 5


def _intervals(edges: tuple[float, ...], unit: str = "") -> tuple[str, ...]:
    return tuple(f"{low:g} to {high:g}{unit}" for low, high in itertools.pairwise(edges))


_CLEVR_COUNT = Label(
    {"objects": {"size"}},
    clevr_count,
    tuple(f"{count} objects" for count in range(_MIN_OBJECTS, _MAX_OBJECTS + 1)),
)
_CLEVR_DISTANCE = Label({"objects": {"pixel_coords"}}, clevr_distance, _intervals(CLEVR_EDGES))
_KITTI_DISTANCE = Label(
    {"objects": {"location", "type"}},
    kitti_distance,
    ("up to 8 m", *_intervals(KITTI_EDGES[1:3], " m"), "above 20 m", "no vehicle"),
)
_DSPRITES_X_POSITION = Label(
    {"label_x_position": True},
    dsprites_x_position,
    tuple(f"x {2 * label} or {2 * label + 1} of 32" for label in range(16)),
)
_DSPRITES_ORIENTATION = Label(
    {"label_orientation": True},
    dsprites_orientation,
    tuple(f"orientation {label} of 16" for label in range(16)),
)


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a TFDS split: the examples that follow its first `percent` percent.

    The number of examples before it is rounded down, as in the benchmark's code.
    """

    split: str
    percent: int = 0

    def start(self, counts: Mapping[str, int]) -> int:
        """Returns the index of the part's first example in the whole TFDS split."""
        return counts[self.split] * self.percent // 100


@dataclasses.dataclass(frozen=True)
class VtabTask:
    """A task of VTAB-1k: its dataset in TFDS, its splits, its label and its augmentations.

    Attributes:
        group: one of `GROUPS`.
        builder: the name of the dataset in TFDS.
        validation: the part whose first 200 images are trained on, besides the first 800 of the
            split "train".
        test: the part to report the accuracy on.
        label: the name of a `ClassLabel`, or how the label is computed.
        image_size: typical height and width in pixels of a dataset whose images differ in size.
            The BiT-HyperRule only asks whether the area is below 96 * 96 pixels.
        pixel_scale: factor of the pixels.
        flip: True if a horizontal flip keeps the label.
        random_crop: True if a random crop keeps the label.
    """

    group: str
    builder: str
    validation: Part = Part("validation")
    test: Part = Part("test")
    label: str | Label = "label"
    image_size: tuple[int, int] | None = None
    pixel_scale: int = 1
    flip: bool = True
    random_crop: bool = True

    def splits(self, counts: Mapping[str, int]) -> tuple[str, str]:
        """Returns the training and the test split as TFDS expressions such as "train[:800]".

        Args:
            counts: the number of examples in each split of the dataset.
        """
        start = self.validation.start(counts)
        validation = f"{self.validation.split}[{start}:{start + NUM_VALIDATION}]"
        start = self.test.start(counts)
        test = f"{self.test.split}[{start}:]" if start else self.test.split
        return f"train[:{NUM_TRAIN}]+{validation}", test


def _clevr(label: Label) -> VtabTask:
    return VtabTask(
        STRUCTURED,
        "clevr:3.*.*",
        _TENTH,
        Part("validation"),
        label,
        image_size=(320, 480),
        random_crop=False,
    )


def _dsprites(label: Label, **kwargs) -> VtabTask:
    # dSprites has only a training split, and its pixels are 0 and 1, so they are multiplied by 255.
    return VtabTask(
        STRUCTURED,
        "dsprites:2.*.*",
        Part("train", 80),
        Part("train", 90),
        label,
        pixel_scale=255,
        flip=False,
        **kwargs,
    )


# The validation part of a dataset without a validation split: the last tenth of the training split.
_TENTH = Part("train", 90)

# The tasks are in the order of the paper's table 1. The sources of the image sizes are the README
# of caltech101 and of sun397/tfds in TFDS (sides of 200 to 300; at most 120 000 pixels); DTD's web
# page (300x300 to 640x640); "Automated flower classification" (smaller side 500); "Cats and dogs"
# (mostly 500x375); `_btgraham_processing` in TFDS (a square of 540 around an eyeball of radius
# 300); the generator of CLEVR (480x320); KITTI's development kit (about 1242x375).
TASKS = MappingProxyType(
    {
        "caltech101": VtabTask(NATURAL, "caltech101:3.*.*", _TENTH, image_size=(200, 300)),
        "cifar100": VtabTask(NATURAL, "cifar100:3.*.*", _TENTH),
        "dtd": VtabTask(NATURAL, "dtd:3.*.*", image_size=(300, 300)),
        "oxford_flowers102": VtabTask(NATURAL, "oxford_flowers102:2.*.*", image_size=(500, 500)),
        "oxford_iiit_pet": VtabTask(
            NATURAL,
            "oxford_iiit_pet:4.*.*",
            Part("train", 80),
            image_size=(375, 500),
            # TFDS 4.9.10 has only version 4.0.0 of Oxford-IIIT Pet, which adds bounding boxes to
            # the same images and labels. The benchmark's code reads version 3.
        ),
        "sun397": VtabTask(NATURAL, "sun397/tfds:4.*.*", image_size=(300, 400)),
        "svhn": VtabTask(NATURAL, "svhn_cropped:3.*.*", _TENTH),
        "eurosat": VtabTask(SPECIALIZED, "eurosat/rgb:2.*.*", Part("train", 60), Part("train", 80)),
        "resisc45": VtabTask(SPECIALIZED, "resisc45:3.*.*", Part("train", 60), Part("train", 80)),
        "patch_camelyon": VtabTask(SPECIALIZED, "patch_camelyon:2.*.*"),
        "diabetic_retinopathy": VtabTask(
            SPECIALIZED,
            "diabetic_retinopathy_detection/btgraham-300:3.*.*",
            image_size=(540, 540),
        ),
        "clevr-count": _clevr(_CLEVR_COUNT),
        "clevr-distance": _clevr(_CLEVR_DISTANCE),
        "dmlab": VtabTask(STRUCTURED, "dmlab:2.0.1", random_crop=False),
        "dsprites-xpos": _dsprites(_DSPRITES_X_POSITION, random_crop=False),
        "dsprites-orientation": _dsprites(_DSPRITES_ORIENTATION),
        "smallnorb-azimuth": VtabTask(
            STRUCTURED,
            "smallnorb:2.*.*",
            Part("test"),
            Part("test", 50),
            "label_azimuth",
            flip=False,
        ),
        "smallnorb-elevation": VtabTask(
            STRUCTURED, "smallnorb:2.*.*", Part("test"), Part("test", 50), "label_elevation"
        ),
        "kitti-distance": VtabTask(
            STRUCTURED,
            "kitti:3.*.*",
            label=_KITTI_DISTANCE,
            image_size=(375, 1242),
            random_crop=False,
            # TFDS 4.9.10 can read version 3.1.0 of KITTI but prepare only 3.3.0, which was made
            # with another development kit. Version 3.3.0 has the same images, but may split the
            # videos in another way. The benchmark's code reads version 3.1.0.
        ),
    }
)


def load(
    name: str,
    key: str,
    *,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
) -> Task:
    """Returns a task of VTAB-1k: 1000 training images and the whole test split.

    Args:
        name: the task's name.
        key: a key of `TASKS`.
        data_dir: where TFDS keeps its datasets; None is `~/tensorflow_datasets`.
        manual_dir: where the files are that TFDS cannot download (resisc45, diabetic_retinopathy);
            None is `downloads/manual` in `data_dir`.

    Raises:
        OSError: the dataset is not prepared and cannot be prepared; the message says what to do.
    """
    row = TASKS[key]
    builder = tfds_builder.prepared(name, row.builder, data_dir, manual_dir)
    info = builder.info
    train, test = row.splits({split: part.num_examples for split, part in info.splits.items()})
    label = row.label
    if isinstance(label, str):
        label = tfds_tasks.class_label(info, label)
    reading = tfds_tasks.Reading("image", label, row.pixel_scale)
    return tfds_tasks.build(
        name,
        builder,
        train,
        test,
        reading,
        row.image_size,
        flip=row.flip,
        random_crop=row.random_crop,
    )

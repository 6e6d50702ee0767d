"""The five tasks of the paper's first table: ILSVRC-2012, CIFAR-10, CIFAR-100, Pets, Flowers."""

from __future__ import annotations

import dataclasses
import os
from types import MappingProxyType

from bit_keras.data import tfds_builder, tfds_tasks
from bit_keras.data.tasks import Task


@dataclasses.dataclass(frozen=True)
class StandardTask:
    """A row of the table: all of the official training split, and the split to report on.

    Attributes:
        builder: as TFDS writes it.
        test: the split to report on.
        image_size: height and width in pixels; where images differ, typical ones. Of the size
            it counts only on which side of 96 * 96 pixels it lies.
    """

    builder: str
    image_size: tuple[int, int]
    test: str = "test"


# Big Transfer, section 3.1, with today's versions of TFDS. The sizes are from the papers that
# published the data: "Learning multiple layers of features from tiny images", section 3.1;
# "ImageNet large scale visual recognition challenge", section 3.1 (the mean is 400x350); "Cats
# and dogs" and "Automated flower classification" (most Pets have sides of 500 and 375 pixels;
# the smaller side of a flower is 500).
TASKS = MappingProxyType(
    {
        # The labels of its test split were never published.
        "imagenet2012": StandardTask("imagenet2012:5.*.*", (350, 400), test="validation"),
        "cifar10": StandardTask("cifar10:3.*.*", (32, 32)),
        "cifar100": StandardTask("cifar100:3.*.*", (32, 32)),
        "oxford_iiit_pet": StandardTask("oxford_iiit_pet:4.*.*", (375, 500)),
        # 1020 images, ten a class: its validation split is not trained on.
        "oxford_flowers102": StandardTask("oxford_flowers102:2.*.*", (500, 500)),
    }
)

# The names of the paper's table.
ALIASES = MappingProxyType({"pets": "oxford_iiit_pet", "flowers": "oxford_flowers102"})


def load(
    name: str,
    argument: str,
    *,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
) -> Task:
    """Returns one of the five tasks, by its TFDS name or by an alias.

    Args:
        name: a key of `TASKS` or of `ALIASES`; the task has the former as its name.
        argument: what follows the prefix in the name: nothing.
        data_dir: where TFDS keeps its datasets; None is `~/tensorflow_datasets`.
        manual_dir: where files lie that TFDS cannot download: those of ILSVRC-2012; None is
            `downloads/manual` in `data_dir`.

    Raises:
        OSError: the dataset is not prepared and cannot be: the message says what to do.
    """
    del argument  # These are whole names: nothing follows.
    name = ALIASES.get(name, name)
    row = TASKS[name]
    builder = tfds_builder.prepared(name, row.builder, data_dir, manual_dir)
    reading = tfds_tasks.Reading("image", tfds_tasks.class_label(builder.info, "label"))
    return tfds_tasks.build(name, builder, "train", row.test, reading, row.image_size)

"""The five tasks of the paper's table 1: ILSVRC-2012, CIFAR-10, CIFAR-100, Pets and Flowers."""

from __future__ import annotations

import dataclasses
import os
from types import MappingProxyType

from bit_keras.data import tfds_builder, tfds_tasks
from bit_keras.data.tasks import TYPICAL_SIZE, Task


@dataclasses.dataclass(frozen=True)
class StandardTask:
    """A task of TFDS with its official training split, image size and test split.

    Attributes:
        builder: the name of the dataset in TFDS.
        image_size: height and width in pixels, typical ones if the images differ in size. The
            BiT-HyperRule only asks whether the area is below 96 * 96 pixels.
        test: the split to report the accuracy on.
    """

    builder: str
    image_size: tuple[int, int]
    test: str = "test"


# The tasks are those of Big Transfer, section 3.1, in the present versions of TFDS. The sizes are
# from the papers that published the data: "Learning multiple layers of features from tiny images",
# section 3.1; "ImageNet large scale visual recognition challenge", section 3.1 (the mean is
# 400x350); "Cats and dogs" (most images have sides of 500 and 375 pixels) and "Automated flower
# classification" (the smaller side of an image is 500).
TASKS = MappingProxyType(
    {
        # The labels of the test split of ILSVRC-2012 were never published, so the validation split
        # is used in its place.
        "imagenet2012": StandardTask("imagenet2012:5.*.*", TYPICAL_SIZE, test="validation"),
        "cifar10": StandardTask("cifar10:3.*.*", (32, 32)),
        "cifar100": StandardTask("cifar100:3.*.*", (32, 32)),
        "oxford_iiit_pet": StandardTask("oxford_iiit_pet:4.*.*", (375, 500)),
        # The training split of Flowers has 1020 images, ten of each class. The validation split is
        # not used.
        "oxford_flowers102": StandardTask("oxford_flowers102:2.*.*", (500, 500)),
    }
)

# Maps the paper's names of two tasks to the names of their datasets in TFDS.
ALIASES = MappingProxyType({"pets": "oxford_iiit_pet", "flowers": "oxford_flowers102"})


def load(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
) -> Task:
    """Returns one of the paper's five tasks, by its name in TFDS or its name in the paper.

    Args:
        name: a key of `TASKS` or of `ALIASES`; the task's own name is the key of `TASKS`.
        data_dir: where TFDS keeps its datasets; None is `~/tensorflow_datasets`.
        manual_dir: where the files are that TFDS cannot download, such as those of ILSVRC-2012;
            None is `downloads/manual` in `data_dir`.

    Raises:
        OSError: the dataset is not prepared and cannot be prepared; the message says what to do.
    """
    name = ALIASES.get(name, name)
    row = TASKS[name]
    builder = tfds_builder.prepared(name, row.builder, data_dir, manual_dir)
    reading = tfds_tasks.Reading("image", tfds_tasks.class_label(builder.info, "label"))
    return tfds_tasks.build(name, builder, "train", row.test, reading, row.image_size)

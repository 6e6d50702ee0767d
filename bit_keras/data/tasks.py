"""What a downstream task is, and how its name is looked up."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bit_keras.nearest_name import nearest_name

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images in a fixed order, read only when the pipeline asks for them.

    An *element* is a dict of tensors that is cheap to shuffle (a path, a small array, the bytes
    of an image); `read` makes the example of it. So an epoch is shuffled without reading a file.
    Errors name it by its `path`, if it has one, and by its `number`, from 0, in a file of records.

    Attributes:
        num_examples: number of images.
        elements: returns the `tf.data.Dataset` of elements, in the fixed order.
        read: traceable function from an element to `{"image", "label"}`: the image is encoded
            (a scalar string: JPEG, PNG, BMP or GIF) or decoded (uint8 `[H, W, 3]`), the label a
            scalar int64 in `[0, num_classes)`; of a task with several labels, a vector of them.
        labels: int64 `[num_examples]` in the same order, or None where only reading tells.
        shuffle_buffer: how many elements are held to shuffle them; None: all. For elements
            that are large and come in no particular order.
    """

    num_examples: int
    elements: Callable[[], tf.data.Dataset]
    read: Callable[[Any], dict[str, tf.Tensor]]
    labels: np.ndarray | None = None
    shuffle_buffer: int | None = None

    def dataset(self) -> tf.data.Dataset:
        """Returns the examples, not decoded, in the fixed order."""
        return self.elements().map(self.read)


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A downstream classification task.

    `dataclasses.replace` makes a variant: `dataclasses.replace(task, flip=False)`.

    Raises:
        ValueError: a label that is known without reading is not in `[0, num_classes)`.

    Attributes:
        name: the name under which `task` finds it.
        class_names: a name for each label.
        image_size: height and width in pixels; where images differ, both are the square root of
            the median area, which is what the BiT-HyperRule looks at.
        train: the examples to train on.
        test: the examples to report on.
        flip: whether a horizontal flip keeps the label.
        random_crop: whether a random crop keeps the label.
        several_labels: whether an image may have several labels, or none: for pre-training alone.
        source: what tells its data from other data under the same name, such as the splits.
    """

    name: str
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    train: Examples
    test: Examples
    flip: bool = True
    random_crop: bool = True
    several_labels: bool = False
    source: str = ""

    def __post_init__(self):
        for split, examples in (("training", self.train), ("test", self.test)):
            _check_labels(self, split, examples)

    @property
    def identity(self) -> dict[str, str | int]:
        """What the record of a run says of its data, to tell them from others."""
        class_names = json.dumps(self.class_names).encode()
        return {
            "task": self.name,
            "num_examples": self.num_examples,
            "num_test_examples": self.num_test_examples,
            "class_names_sha256": hashlib.sha256(class_names).hexdigest(),
            "source": self.source,
        }

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def num_examples(self) -> int:
        """The number of training examples."""
        return self.train.num_examples

    @property
    def num_test_examples(self) -> int:
        """The number of test examples."""
        return self.test.num_examples


def _check_labels(task: Task, split: str, examples: Examples) -> None:
    labels = examples.labels
    if labels is None or not len(labels):
        return
    if labels.min() < 0 or labels.max() >= task.num_classes:
        raise ValueError(
            f"{task.name}: the {split} labels go from {labels.min()} to {labels.max()}; expected "
            f"them from 0 to {task.num_classes - 1}, since class_names has {task.num_classes}. Add "
            "the names that are missing, or mend the labels."
        )


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A row of the table of tasks."""

    prefix: str  # a whole name, or the beginning of one if it ends in ":" or "/"
    form: str  # as it is shown to the user
    module: str  # its `load(name, argument, **options)` makes the task

    def fits(self, name: str) -> bool:
        return name.startswith(self.prefix) if self.prefix[-1] in ":/" else name == self.prefix


def _whole(name: str, module: str) -> _Entry:
    return _Entry(name, name, module)


_TASKS = (
    _whole("digits", "bit_keras.data.digits"),
    _Entry("folder:", "folder:PATH", "bit_keras.data.folder"),
    _whole("imagenet2012", "bit_keras.data.standard"),
    _whole("cifar10", "bit_keras.data.standard"),
    _whole("cifar100", "bit_keras.data.standard"),
    _whole("oxford_iiit_pet", "bit_keras.data.standard"),
    _whole("pets", "bit_keras.data.standard"),
    _whole("oxford_flowers102", "bit_keras.data.standard"),
    _whole("flowers", "bit_keras.data.standard"),
    _Entry("vtab/", "vtab/TASK", "bit_keras.data.vtab"),
    _Entry("tfds:", "tfds:DATASET", "bit_keras.data.tfds_tasks"),
)


def task(name: str, **options: Any) -> Task:
    """Returns the downstream task of a name.

    Args:
        name: "digits" (scikit-learn's 8x8 digits), "folder:PATH" (a folder of images, one
            subfolder a class), one of the paper ("imagenet2012", "cifar10", "cifar100", "pets",
            "flowers"), "vtab/TASK" (one of the 19 of VTAB-1k, such as "vtab/clevr-count"), or
            "tfds:DATASET" (any other of TensorFlow Datasets).
        **options: what this kind of task takes: see `load` in `bit_keras.data.folder`,
            `.standard`, `.vtab` and `.tfds_tasks`.

    Raises:
        ValueError: an unknown name, or a task that cannot be made; the message says why.
        OSError: data that is not on this machine and cannot be fetched.

    >>> digits = task("digits")
    >>> digits.num_classes, digits.num_examples, digits.num_test_examples, digits.image_size
    (10, 1437, 360, (8, 8))
    """
    entry = next((entry for entry in _TASKS if entry.fits(name)), None)
    if entry is None:
        raise ValueError(_unknown(name))
    # Imported by name: a loader imports this module, and needs what not every task needs.
    loader = importlib.import_module(entry.module)
    _, _, *known = inspect.signature(loader.load).parameters
    for option in options:
        if option not in known:
            raise ValueError(
                f"The task {name!r} takes no option {option!r}; it takes "
                f"{', '.join(known) or 'none'}."
            )
    return loader.load(name, name.removeprefix(entry.prefix), **options)


def _unknown(name: str) -> str:
    forms = {entry.prefix.rstrip(":/"): entry.form for entry in _TASKS}
    kind = re.split("[:/]", name)[0]
    nearest = nearest_name(kind, forms)
    return (
        f"Unknown task {name!r}. Did you mean {forms[nearest]!r}? "
        f"Known: {', '.join(forms.values())}."
    )

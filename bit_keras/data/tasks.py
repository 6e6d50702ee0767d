"""The class of classification tasks, and the table by which a task's name gives the task."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bit_keras.checkpoints.catalog import VTAB_CLASSES
from bit_keras.models.task_record import TaskRecord, digest_of_names
from bit_keras.utils.nearest_name import nearest_name

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


# The colour behind the transparent pixels of images: red, green and blue.
WHITE = (255, 255, 255)


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images in a fixed order, which are read only when the pipeline asks for them.

    An *element* is a dict of tensors that is cheap to shuffle (a path, a small array, the bytes of
    an image), and `read` makes an example from it. So an epoch is shuffled without reading a file.
    Errors name an element by its `path`, if it has one, and by its `number` in a file of records,
    counted from 0.

    Attributes:
        num_examples: number of images.
        elements: returns the `tf.data.Dataset` of elements, in the fixed order.
        read: traceable function from an element to `{"image", "label"}`. The image is encoded
            (a scalar string, for `bit_keras.data.decoding.decode`) or decoded (uint8 `[H, W, 3]`).
            The label is a scalar int64 in `[0, num_classes)`, or a vector of them in a task with
            several labels.
        labels: int64 `[num_examples]` in the same order, or None if they are not known before the
            elements are read.
        shuffle_buffer: number of elements that are held in memory to shuffle them; None holds all.
            A number is for elements that are large and are stored in random order.
    """

    num_examples: int
    elements: Callable[[], tf.data.Dataset]
    read: Callable[[Any], dict[str, tf.Tensor]]
    labels: np.ndarray | None = None
    shuffle_buffer: int | None = None

    def dataset(self) -> tf.data.Dataset:
        """Returns the examples in the fixed order; encoded images stay encoded."""
        return self.elements().map(self.read)


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A classification task: training and test images, labels, and the allowed augmentations.

    `dataclasses.replace` makes a variant: `dataclasses.replace(task, flip=False)`.

    Raises:
        ValueError: a label that is known before reading is not in `[0, num_classes)`.

    Attributes:
        name: the name by which the function `task` finds this task.
        class_names: a name for each label.
        image_size: height and width in pixels. If the images differ in size, both are the square
            root of the median area, by which the BiT-HyperRule chooses its resolution.
        train: the examples to train on.
        test: the examples to report the accuracy on.
        flip: True if a horizontal flip keeps the label.
        random_crop: True if a random crop keeps the label.
        several_labels: True if an image may have several labels, or none. Only pre-training takes
            such a task.
        background: red, green and blue, 0 to 255, of the colour that shows where an encoded image
            is transparent.
        source: a text, such as the names of the splits, that differs for other data under the
            same name.
        validation: the examples of a validation split, which `eval_every` evaluates on; None if
            the data have no such split beside the test split.
        whole: all examples of data that have no splits of their own, so that `train` and `test` are
            parts of them; None otherwise. A model that was trained on other data is evaluated on
            all of them.
        options: the options with which the function `task` made this task.
        location: the real path of the folder that holds the images; empty for other tasks.
        note: a sentence about the splits, which a run prints; it may be empty.
        chosen: the values of `flip` and `random_crop` that the function `task` was asked for, where
            they differ from those of the name. The configuration of a training has them.
    """

    name: str
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    train: Examples
    test: Examples
    flip: bool = True
    random_crop: bool = True
    several_labels: bool = False
    background: tuple[int, int, int] = WHITE
    source: str = ""
    validation: Examples | None = None
    whole: Examples | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    location: str = ""
    note: str = ""
    chosen: dict[str, bool] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        splits = {"training": self.train, "validation": self.validation, "test": self.test}
        for split, examples in splits.items():
            if examples is not None:
                _check_labels(self, split, examples)

    @property
    def identity(self) -> dict[str, str | int]:
        """The entries of a run's configuration that say which data it used."""
        # A run of an earlier version, which had no such option, can be continued.
        code = "#{:02x}{:02x}{:02x}".format(*self.background)
        background = {"background": code} if self.background != WHITE else {}
        return {
            "task": self.name,
            "num_examples": self.num_examples,
            "num_test_examples": self.num_test_examples,
            "class_names_sha256": digest_of_names(self.class_names),
            "source": self.source,
            **background,
        }

    def record(self) -> TaskRecord:
        """Returns what a run and its model keep of the task that it trained on."""
        return TaskRecord(
            class_names=tuple(self.class_names),
            name=self.name,
            options={key: _kept(key, value) for key, value in self.options.items()},
            several_labels=self.several_labels,
            flip=self.flip,
            random_crop=self.random_crop,
            source=self.source,
            location=self.location,
        )

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


def _kept(option: str, value: Any) -> Any:
    """Returns the value of an option; a directory as an absolute path."""
    if value is None or not option.endswith("_dir"):
        return value
    return os.path.abspath(os.path.expanduser(value))


def _check_labels(task: Task, split: str, examples: Examples) -> None:
    labels = examples.labels
    if labels is None or not len(labels):
        return
    if labels.min() < 0 or labels.max() >= task.num_classes:
        raise ValueError(
            f"{task.name}: the {split} labels go from {labels.min()} to {labels.max()}; expected "
            f"labels from 0 to {task.num_classes - 1}, because class_names has {task.num_classes} "
            "names. Add the missing names, or correct the labels."
        )


# Height and width in pixels of a typical photograph: the mean over ILSVRC-2012, from "ImageNet
# large scale visual recognition challenge", section 3.1. It is the image size of tasks of
# photographs whose sizes are not measured.
TYPICAL_SIZE = (350, 400)


@dataclasses.dataclass(frozen=True)
class _Row:
    """The name of a task, or the beginning of its name, and the module that loads it.

    Attributes:
        prefix: a whole name; or the beginning of a name, if it ends in ":" or "/".
        form: the name as messages show it.
        module: the module in this folder whose function `load(name, *, ...)` makes the task. If the
            prefix ends in ":" or "/", the function is `load(name, argument, *, ...)`, and the
            argument is the part of the name after the prefix. If the module has a function
            `load_for_pretraining` or `load_for_evaluation` with the same options, pre-training or
            evaluation calls that one.
        pretraining_only: if True, fine-tuning and evaluation refuse the task.
    """

    prefix: str
    form: str
    module: str
    pretraining_only: bool = False

    @property
    def has_argument(self) -> bool:
        """True if an argument follows the prefix in the task's name, as in "folder:PATH"."""
        return self.prefix[-1] in ":/"

    def fits(self, name: str) -> bool:
        """Returns True if a task's name has the prefix of this row of the table."""
        return name.startswith(self.prefix) if self.has_argument else name == self.prefix


_TASKS = (
    _Row("digits", "digits", "digits"),
    _Row("clipart", "clipart", "clipart"),
    _Row("letters", "letters", "letters"),
    _Row("stamps", "stamps", "stamps"),
    _Row("emoji", "emoji", "emoji"),
    _Row("fashion_mnist", "fashion_mnist", "fashion_mnist"),
    _Row("folder:", "folder:PATH", "folder"),
    _Row("imagenet2012", "imagenet2012", "standard"),
    _Row("cifar10", "cifar10", "standard"),
    _Row("cifar100", "cifar100", "standard"),
    _Row("oxford_iiit_pet", "oxford_iiit_pet", "standard"),
    _Row("pets", "pets", "standard"),
    _Row("oxford_flowers102", "oxford_flowers102", "standard"),
    _Row("flowers", "flowers", "standard"),
    _Row("vtab/", "vtab/TASK", "vtab"),
    _Row("tfds:", "tfds:DATASET", "tfds_tasks"),
    _Row("imagenet21k", "imagenet21k", "imagenet21k", pretraining_only=True),
    _Row("tfrecords:", "tfrecords:FOLDER", "records", pretraining_only=True),
    _Row("labels:", "labels:FILE", "image_list", pretraining_only=True),
)


def task(name: str, **options: Any) -> Task:
    """Returns the task with a name such as "cifar10", for fine-tuning or evaluation.

    Args:
        name: "clipart" (drawings inside the package), "digits" (scikit-learn's 8x8 digits),
            "letters" (of installed fonts), "stamps", "emoji" or "fashion_mnist" (of packages that
            apt-get and npm install: see `load` in the module of this name in `bit_keras.data`),
            "folder:PATH" (a folder of images with one subfolder for each class), a task of the
            paper ("imagenet2012", "cifar10", "cifar100", "pets", "flowers"), "vtab/TASK" (one of
            the 19 tasks of VTAB-1k, such as "vtab/clevr-count"), or "tfds:DATASET" (any other
            dataset of TensorFlow Datasets).
        **options: `flip` and `random_crop`, which every task takes: False where a horizontal
            flip, or a random crop, changes the label, as of letters, digits and signs; None for
            what the task does by itself. And the options of this kind of task: see `load` in
            `bit_keras.data.folder`, `.standard`, `.vtab`, `.tfds_tasks`, `.letters`, `.stamps`,
            `.emoji` and `.fashion_mnist`.

    Raises:
        ValueError: an unknown name, or a task that cannot be made; the message says why.
        OSError: the data is not on this machine and cannot be fetched.

    >>> digits = task("digits")
    >>> digits.num_classes, digits.num_examples, digits.num_test_examples, digits.image_size
    (10, 1437, 360, (8, 8))
    """
    return _load(check_task_name(name), name, "load", options)


def pretraining_task(name: str, **options: Any) -> Task:
    """Returns the task with a name, for pre-training; its images may have several labels.

    Args:
        name: a name that `task` takes; "imagenet21k" (a folder of images or of TFRecord files);
            "tfrecords:FOLDER" (TFRecord files); or "labels:FILE" (a text file that lists images and
            their labels). The label of "tfds:DATASET" may also be a sequence of class labels.
        **options: options of this kind of task: see `task`, and `load` in
            `bit_keras.data.imagenet21k`, `.records` and `.image_list`.

    Raises:
        ValueError: an unknown name, or a task that cannot be made; the message says why.
        OSError: the data is not on this machine and cannot be fetched.
    """
    row = check_task_name(name, pretraining=True)
    return _load(row, name, "load_for_pretraining", options)


def evaluation_task(name: str, **options: Any) -> Task:
    """Returns the task that a name means, to evaluate a trained model on.

    It is the task that `task` returns, except that a folder without splits may have a single class,
    and classes of one image, because all of its images may be test images (`Task.whole`).

    Args:
        name: a name that `task` takes.
        **options: options of this kind of task: see `task`.

    Raises:
        ValueError, OSError: as for `task`.
    """
    return _load(check_task_name(name), name, "load_for_evaluation", options)


def as_task(given: Any, by_name: Callable[[str], Task] = task) -> Task:
    """Returns the task that a caller gave, by its name or as a `Task`.

    Args:
        given: the caller's argument.
        by_name: makes the task of a name.

    Raises:
        TypeError: the argument is data of another form, such as arrays or a tf.data.Dataset.
    """
    if isinstance(given, str):
        return by_name(given)
    if isinstance(given, Task):
        return given
    raise TypeError(
        f"The task is a {type(given).__name__}; expected a name such as 'folder:PATH', or a task "
        "that bit_keras.task returns. To train on arrays or on a tf.data.Dataset, compile the "
        "model with rule.optimizer() and call model.fit."
    )


def check_task_name(name: str, pretraining: bool = False) -> _Row:
    """Finds a task's name in the table of tasks, without importing TensorFlow or reading data.

    Args:
        name: the name of a task.
        pretraining: if True, names that only `pretraining_task` takes are known too.

    Raises:
        ValueError: an unknown name; the message gives the nearest one.
    """
    rows = tuple(row for row in _TASKS if pretraining or not row.pretraining_only)
    row = next((row for row in _TASKS if row.fits(name)), None)
    if row is None:
        forms = {row.prefix.rstrip(":/"): row.form for row in rows}
        nearest = forms[nearest_name(re.split("[:/]", name)[0], forms)]
    elif row not in rows:
        raise ValueError(
            f"Unknown task {name!r}: {row.form!r} is for pre-training only. Pass it to "
            f"bit_keras.pretrain (bit-keras pretrain --task), or choose one of {_forms(rows)}."
        )
    elif row.module == "vtab" and name.removeprefix(row.prefix) not in VTAB_CLASSES:
        rows = tuple(_Row(form, form, row.module) for form in map("vtab/{}".format, VTAB_CLASSES))
        nearest = nearest_name(name, [row.form for row in rows])
    else:
        return row
    raise ValueError(f"Unknown task {name!r}. Did you mean {nearest!r}? Known: {_forms(rows)}.")


# The fields of a task that its caller may choose, whatever the kind of the task.
_CHOICES = ("flip", "random_crop")


def _load(row: _Row, name: str, function: str, options: dict[str, Any]) -> Task:
    # The task's module is imported here, because it imports this module, and packages that other
    # tasks do not need.
    loader = importlib.import_module(f"bit_keras.data.{row.module}")
    parameters = inspect.signature(loader.load).parameters.values()
    known = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    for option in options:
        if option not in (*known, *_CHOICES):
            raise ValueError(
                f"The task {name!r} takes no option {option!r}. Its options are: "
                f"{', '.join(known) or 'none'}; and {' and '.join(_CHOICES)}, as of every task."
            )
    asked = {choice: options.pop(choice, None) for choice in _CHOICES}
    for choice, value in asked.items():
        if value not in (True, False, None):
            raise ValueError(f"{choice}={value!r}: expected True, False or None.")
    load = getattr(loader, function, loader.load)
    argument = [name.removeprefix(row.prefix)] if row.has_argument else []
    made = load(name, *argument, **options)
    chosen = {
        choice: bool(value)
        for choice, value in asked.items()
        if value not in (None, getattr(made, choice))
    }
    return dataclasses.replace(made, **chosen, chosen=chosen, options={**options, **chosen})


def _forms(rows: tuple[_Row, ...]) -> str:
    return ", ".join(row.form for row in rows)

"""The class `Task`, and the table that maps the name of a task to the module that loads it."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import os
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

from bit_keras.checkpoints.catalog import VTAB_CLASSES
from bit_keras.data.examples import Examples
from bit_keras.models.task_record import TaskRecord, digest_of_names
from bit_keras.utils.nearest_name import nearest_name

# The colour behind the transparent pixels of images: red, green and blue.
WHITE = (255, 255, 255)

# The fields of a task that the caller of `task` may set as options, for every kind of task.
_CHOICES = ("flip", "random_crop")


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A classification task: training and test images, labels, and the allowed augmentations.

    `dataclasses.replace` makes a variant: `dataclasses.replace(task, flip=False)`.

    Raises:
        ValueError: a label that is known before reading is not in `[0, num_classes)`.

    Attributes:
        name: the name by which the function `task` finds this task.
        class_names: a name for each label; empty if the images have no labels.
        image_size: height and width in pixels. If the images differ in size, both are the square
            root of the median area, by which the BiT-HyperRule chooses its resolution.
        train: the examples to train on.
        test: the examples to report the accuracy on.
        flip: True if a horizontal flip keeps the label.
        random_crop: True if a random crop keeps the label.
        several_labels: True if an image may have several labels, or none. Only pre-training and
            distillation take such a task.
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
        natural: the values of `flip` and `random_crop` that the task had when it was first made,
            before its caller chose others; None takes the values of these fields.
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
    natural: Mapping[str, bool] | None = None

    def __post_init__(self):
        if self.natural is None:
            natural = {choice: getattr(self, choice) for choice in _CHOICES}
            object.__setattr__(self, "natural", natural)
        splits = {"training": self.train, "validation": self.validation, "test": self.test}
        for split, examples in splits.items():
            if examples is not None:
                _check_labels(self, split, examples)

    @property
    def identity(self) -> dict[str, str | int]:
        """The entries of a run's configuration that identify the task and its data."""
        # A white background is not recorded in the configuration, so that a run of an earlier
        # version, which had no choice of the background, can be continued.
        background = {"background": self._colour_code} if self.background != WHITE else {}
        return {
            "task": self.name,
            "num_examples": self.num_examples,
            "num_test_examples": self.num_test_examples,
            "class_names_sha256": digest_of_names(self.class_names),
            "source": self.source,
            **background,
        }

    @property
    def chosen(self) -> dict[str, bool]:
        """The values of `flip` and `random_crop` that the caller chose in place of the task's own.

        The configuration of a training has them.
        """
        values = {choice: getattr(self, choice) for choice in _CHOICES}
        return {choice: v for choice, v in values.items() if v != self.natural[choice]}

    def record(self) -> TaskRecord:
        """Returns the description of this task that is saved with a run and with its model."""
        return TaskRecord(
            class_names=tuple(self.class_names),
            name=self.name,
            options={
                **{key: _kept(key, value) for key, value in self.options.items()},
                **self.chosen,
            },
            several_labels=self.several_labels,
            source=self.source,
            location=self.location,
            background=self._colour_code,
        )

    @property
    def _colour_code(self) -> str:
        return "#{:02x}{:02x}{:02x}".format(*self.background)

    @property
    def num_classes(self) -> int:
        """The number of classes of the task."""
        return len(self.class_names)

    @property
    def num_examples(self) -> int:
        """The number of training examples of the task."""
        return self.train.num_examples

    @property
    def num_test_examples(self) -> int:
        """The number of test examples of the task."""
        return self.test.num_examples


def _kept(option: str, value: Any) -> Any:
    """Returns the value of a task's option as a run records it; directories become absolute."""
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
    """A row of the table of tasks: a task's name or its beginning, and the module that loads it.

    Attributes:
        prefix: a whole name; or the beginning of a name, if it ends in ":" or "/".
        form: the name as messages show it.
        module: the module in this folder whose function `load(name, *, ...)` makes the task. If the
            prefix ends in ":" or "/", the function is `load(name, argument, *, ...)`, and the
            argument is the part of the name after the prefix. If the module has a function
            `load_for_pretraining` or `load_for_evaluation` with the same options, pre-training or
            evaluation calls that one.
        only: "pretrain" or "distill" for a task that fine-tuning and evaluation refuse: the
            command that it is made for.
    """

    prefix: str
    form: str
    module: str
    only: str | None = None

    @property
    def has_argument(self) -> bool:
        """True if an argument follows the prefix in the task's name, as in "folder:PATH"."""
        return self.prefix[-1] in ":/"

    def fits(self, name: str) -> bool:
        """Returns True if this row of the table of tasks is the one for a task's name."""
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
    _Row("imagenet21k", "imagenet21k", "imagenet21k", only="pretrain"),
    _Row("tfrecords:", "tfrecords:FOLDER", "records", only="pretrain"),
    _Row("labels:", "labels:FILE", "image_list", only="pretrain"),
    _Row("pictures:", "pictures:FOLDER", "pictures", only="distill"),
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
    """Returns the task with a name, for pre-training or distillation.

    Its images may have several labels each, or none.

    Args:
        name: a name that `task` takes; "imagenet21k" (a folder of images or of TFRecord files);
            "tfrecords:FOLDER" (TFRecord files); "labels:FILE" (a text file that lists images and
            their labels); or, for distillation, "pictures:FOLDER" (images without labels). The
            label of "tfds:DATASET" may also be a sequence of class labels.
        **options: options of this kind of task: see `task`, and `load` in
            `bit_keras.data.imagenet21k`, `.records`, `.image_list` and `.pictures`.

    Raises:
        ValueError: an unknown name, or a task that cannot be made; the message says why.
        OSError: the data is not on this machine and cannot be fetched.
    """
    row = check_task_name(name, pretraining=True)
    return _load(row, name, "load_for_pretraining", options)


def evaluation_task(name: str, **options: Any) -> Task:
    """Returns the task with a name such as "cifar10", for the evaluation of a trained model.

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
    """Returns the task that a caller gave: its name, a `Task`, or a function that makes it.

    The command line gives a function, so that the other arguments are checked before the data of
    the task are read.

    Args:
        given: the caller's argument.
        by_name: makes the task of a name.

    Raises:
        TypeError: the argument is data of another form, such as arrays or a tf.data.Dataset.
    """
    if isinstance(given, str):
        return by_name(given)
    # Other objects that can be called, such as a network, are refused below.
    if isinstance(given, types.FunctionType | functools.partial):
        given = given()
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
    rows = tuple(row for row in _TASKS if pretraining or row.only is None)
    row = next((row for row in _TASKS if row.fits(name)), None)
    if row is None:
        forms = {row.prefix.rstrip(":/"): row.form for row in rows}
        nearest = forms[nearest_name(re.split("[:/]", name)[0], forms)]
    elif row not in rows:
        raise ValueError(
            f"The task {name!r} is for bit_keras.{row.only} (bit-keras {row.only} --task) only. "
            f"Pass it there, or choose one of {_forms(rows)}."
        )
    elif row.module == "vtab" and name.removeprefix(row.prefix) not in VTAB_CLASSES:
        rows = tuple(_Row(form, form, row.module) for form in map("vtab/{}".format, VTAB_CLASSES))
        nearest = nearest_name(name, [row.form for row in rows])
    else:
        return row
    raise ValueError(f"Unknown task {name!r}. Did you mean {nearest!r}? Known: {_forms(rows)}.")


def _load(row: _Row, name: str, function: str, options: dict[str, Any]) -> Task:
    # The module that loads the task is imported only here, because it imports the present module,
    # and also packages that other tasks do not need.
    loader = importlib.import_module(f"bit_keras.data.{row.module}")
    parameters = inspect.signature(loader.load).parameters.values()
    known = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    for option in options:
        if option not in (*known, *_CHOICES):
            raise ValueError(
                f"The task {name!r} takes no option {option!r}. Its options are: "
                f"{', '.join(known) or 'none'}; and {' and '.join(_CHOICES)}, which every task has."
            )
    asked = {choice: options.pop(choice, None) for choice in _CHOICES}
    for choice, value in asked.items():
        if value not in (True, False, None):
            raise ValueError(f"{choice}={value!r}: expected True, False or None.")
    load = getattr(loader, function, loader.load)
    argument = [name.removeprefix(row.prefix)] if row.has_argument else []
    made = load(name, *argument, **options)
    chosen = {choice: bool(value) for choice, value in asked.items() if value is not None}
    return dataclasses.replace(made, **chosen, options=options)


def _forms(rows: tuple[_Row, ...]) -> str:
    return ", ".join(row.form for row in rows)

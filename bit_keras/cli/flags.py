"""The description of a subcommand, and the flags that several subcommands share."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bit_keras.training.options import RunOptions

if TYPE_CHECKING:
    from bit_keras.data.tasks import Task

WHOLE, NUMBER, TEXT, SWITCH, LIST = (
    flags.DEFINE_integer,
    flags.DEFINE_float,
    flags.DEFINE_string,
    flags.DEFINE_bool,
    flags.DEFINE_list,
)

_DEFINE = {int: WHOLE, float: NUMBER, str: TEXT, bool: SWITCH}


@dataclass(frozen=True)
class Command:
    """A subcommand of `bit-keras`.

    Attributes:
        summary: one sentence, for the help.
        flags: a row (function of absl that defines the flag, name, default, help) for each flag.
        run: runs the command. It takes the values of the flags and the arguments, which are
            strings, and returns the exit status; None means 0.
        arguments: names of the arguments, as the usage line shows them. If the last name ends in
            "...", any number of arguments may follow.
        required: number of arguments that must be given.
    """

    summary: str
    flags: tuple[tuple, ...]
    run: Callable[..., int | None]
    arguments: tuple[str, ...] = ()
    required: int = 0


def _option_flags() -> dict[str, tuple]:
    """Returns a dict from each option of `RunOptions` that has a help text to its flag."""
    found = {}
    for option in dataclasses.fields(RunOptions):
        if "help" in option.metadata:
            # An option is of a type T or `T | None`, such as `int | None`. The flag is of type T.
            kind = option.type if option.type in _DEFINE else option.type.__args__[0]
            found[option.name] = (
                _DEFINE[kind],
                option.name,
                option.default,
                option.metadata["help"],
            )
    return found


_OPTIONS = _option_flags()


def option_flags(*names: str) -> tuple[tuple, ...]:
    """Returns the command-line flags for the options of `RunOptions` with these names.

    >>> [name for _, name, _, _ in option_flags("eval_every", "held_out")]
    ['eval_every', 'held_out']
    """
    return tuple(_OPTIONS[name] for name in names)


# The flags of the commands that train a network; each flag sets a field of `RunOptions`.
RUN_FLAGS = tuple(_OPTIONS.values())
OVERWRITE_FLAG = option_flags("overwrite")

# fmt: off
MODEL_FLAGS = (
    (TEXT, "model", None, "a model of the zoo, such as BiT-M-R50x1; by default R14x0.5, a small "
     "network with random weights"),
    (TEXT, "weights", None, "name of a checkpoint, such as ilsvrc2012, path of an official npz "
     "file, or 'none' for random weights; by default the model's upstream weights"),
)

TASK_FLAG = (
    (TEXT, "task", "digits", "'digits'; clipart; letters, stamps, emoji or fashion_mnist, of "
     "packages that apt-get or npm installs; 'folder:PATH', which has one subfolder of images for "
     "each class; imagenet2012, cifar10, cifar100, pets, flowers; 'vtab/NAME'; 'tfds:DATASET'"),
)

STORE_FLAGS = (
    (TEXT, "data_dir", None, "directory in which TFDS keeps its datasets; or the folder of the "
     "fonts, of the stamps, of the emoji or of Fashion-MNIST, where it is not the usual one"),
    (TEXT, "manual_dir", None, "directory of the files that TFDS cannot download by itself"),
)

TASK_OPTION_FLAGS = (
    (SWITCH, "skip_corrupt", False, "leave out images of a folder or a list that cannot be "
     "decoded, with a warning for each; every image is opened once to find them"),
    (TEXT, "background", None, "colour behind the transparent pixels of a folder, a list or "
     "TFRecord files, such as grey or '#ff8000'; by default white"),
    *STORE_FLAGS,
    (TEXT, "train_split", None, "name of another training split of a tfds: task"),
    (TEXT, "test_split", None, "name of another test split of a tfds: task"),
    (TEXT, "image_key", None, "name of the feature of a tfds: task that holds the image"),
    (TEXT, "label_key", None, "name of the feature of a tfds: task that holds the label"),
)

# The flags for the options of a task that a network is trained on.
TRAINING_TASK_FLAGS = (
    *TASK_OPTION_FLAGS,
    (SWITCH, "flip", None, "flip training images at random; --noflip where a flip changes the "
     "label, as of letters, digits and signs; by default as the task says"),
    (SWITCH, "random_crop", None, "crop training images at random; --norandom_crop where the place "
     "of an object is its label; by default as the task says"),
)

RECIPE_FLAG = (
    (TEXT, "recipe", "paper", "version of the BiT-HyperRule: that of the 'paper' or of the "
     "'official' code"),
)

BUDGET_FLAGS = (
    (WHOLE, "steps", None, "number of steps instead of the rule's; the steps at which the learning "
     "rate falls move in proportion"),
    (WHOLE, "batch_size", None, "batch size instead of the rule's; the learning rate changes in "
     "proportion unless it is given"),
    (NUMBER, "base_lr", None, "learning rate instead of the rule's"),
    (WHOLE, "resize", None, "side in pixels of the resized training image, instead of the rule's"),
    (WHOLE, "crop", None, "side in pixels of the crop, instead of the rule's"),
)

AUGMENTATION_FLAG = (
    (TEXT, "augmentation", None, "'rand_augment', 'cutmix' (which replaces mixup), or both, "
     "separated by a comma; rand_augment uses keras-cv"),
)
# fmt: on


def given(values: flags.FlagValues, rows: tuple[tuple, ...]) -> dict:
    """Returns a dict of the flags in `rows` whose values differ from their defaults."""
    return {
        name: values[name].value for _, name, default, _ in rows if values[name].value != default
    }


def default_directory(*words: str) -> Path:
    """Returns the directory of a run or study whose `--output_dir` is not given.

    >>> default_directory("fewshot", "R14x0.5", "folder:/tmp/my images").as_posix()
    'runs/fewshot-R14x0.5-folder-tmp-my-images'
    """
    return Path("runs", re.sub(r"[^\w.-]+", "-", "-".join(words)))


def task_of(values: flags.FlagValues, pretraining: bool = False) -> Task:
    """Returns the task that the flag `--task` and the flags for its options ask for.

    Args:
        values: the values of the flags.
        pretraining: if True, the images may have several labels.
    """
    from bit_keras.data.tasks import pretraining_task, task

    rows = TRAINING_TASK_FLAGS if "flip" in values else TASK_OPTION_FLAGS
    return (pretraining_task if pretraining else task)(values.task, **given(values, rows))


def options_of(values: flags.FlagValues) -> dict:
    """Returns the flags' values as arguments of `RunOptions`."""
    return {name: values[name].value for _, name, _, _ in RUN_FLAGS}


def pretrained_of(values: flags.FlagValues, default: bool = True) -> bool | str:
    """Returns the value for `pretrained=` that the flag `--weights` asks for.

    Args:
        values: the values of the flags.
        default: the value if the flag was not given.
    """
    return {None: default, "none": False}.get(values.weights, values.weights)


def numbers(
    values: flags.FlagValues, name: str, kind: type = float, example: str = "0,255"
) -> tuple | None:
    """Returns the numbers of a flag that takes a list, or None if the flag is not given.

    Args:
        values: the values of all flags.
        name: the name of the flag.
        kind: int or float.
        example: such a list, for the message.

    Raises:
        ValueError: a value of the list is no such number.
    """
    given = values[name].value
    if given is None:
        return None
    try:
        return tuple(kind(text) for text in given)
    except ValueError:
        expected = "integers" if kind is int else "numbers"
        raise ValueError(
            f"--{name} takes {expected} with commas between them, such as {example}; got "
            f"{','.join(given)!r}."
        ) from None

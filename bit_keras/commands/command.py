"""What a subcommand is, and the flags that several of them share."""

from collections.abc import Callable
from dataclasses import dataclass

from absl import flags

WHOLE, NUMBER, TEXT, SWITCH, LIST = (
    flags.DEFINE_integer,
    flags.DEFINE_float,
    flags.DEFINE_string,
    flags.DEFINE_bool,
    flags.DEFINE_list,
)


@dataclass(frozen=True)
class Command:
    """A subcommand: what it does, its flags as (define, name, default, help), what runs it.

    `run` takes the flags' values and the arguments, strings; it returns the exit status, None
    for 0.

    Attributes:
        summary: one sentence.
        flags: rows of the table of flags.
        run: the recipe.
        arguments: their names, as the usage shows them; a last one that ends in "..." takes any
            number.
        required: how many arguments there must be.
    """

    summary: str
    flags: tuple[tuple, ...]
    run: Callable[..., int | None]
    arguments: tuple[str, ...] = ()
    required: int = 0


# fmt: off
MODEL_FLAGS = (
    (TEXT, "model", None, "a model of the zoo, such as BiT-M-R50x1; without it R14x0.5, "
     "a small network that starts from random weights"),
    (TEXT, "weights", None, "path of an official npz file, or 'none' for random weights; "
     "without it the model's upstream weights"),
)
TASK_FLAG = (
    (TEXT, "task", "digits", "'digits'; 'folder:PATH' with one subfolder of images a "
     "class; imagenet2012, cifar10, cifar100, pets, flowers; 'vtab/NAME'; 'tfds:DATASET'"),
)
STORE_FLAGS = (
    (TEXT, "data_dir", None, "where TFDS keeps its datasets"),
    (TEXT, "manual_dir", None, "where files lie that TFDS cannot fetch by itself"),
)
TASK_OPTION_FLAGS = (
    (SWITCH, "skip_corrupt", False, "leave out images of a folder or a list that cannot be "
     "decoded, with a warning for each; all are opened once"),
    *STORE_FLAGS,
    (TEXT, "train_split", None, "another training split of a tfds: task"),
    (TEXT, "test_split", None, "another test split of a tfds: task"),
    (TEXT, "image_key", None, "the feature of a tfds: task that is the image"),
    (TEXT, "label_key", None, "the feature of a tfds: task that is the label"),
)
RECIPE_FLAG = (
    (TEXT, "recipe", "paper", "the BiT-HyperRule of the 'paper' or of the 'official' code"),
)
BUDGET_FLAGS = (
    (WHOLE, "steps", None, "another number of steps; the rule's boundaries move along"),
    (WHOLE, "batch_size", None, "another batch size; the learning rate follows linearly, "
     "unless it is given"),
    (NUMBER, "base_lr", None, "another learning rate"),
    (WHOLE, "resize", None, "another side, in pixels, of the resized training image"),
    (WHOLE, "crop", None, "another side, in pixels, of the crop"),
)
AUGMENTATION_FLAG = (
    (TEXT, "augmentation", None, "'rand_augment', 'cutmix' (in place of mixup), or both with a "
     "comma between; needs keras-cv"),
)
SCALE_FLAGS = (
    (TEXT, "strategy", "auto", "which devices train together: 'one'; 'mirrored', all GPUs of this "
     "machine; 'multi_worker', the machines that TF_CONFIG names; 'tpu' or 'tpu=ADDRESS'; 'auto' "
     "takes what is there"),
    (WHOLE, "batch_split", 1, "go through each batch in so many slices: less memory, the same "
     "gradient"),
    (TEXT, "remat", None, "'block' or 'unit': compute these again on the way back, to save memory"),
    (TEXT, "dtype", None, "a Keras dtype policy: mixed_bfloat16 or mixed_float16 on accelerators"),
    (WHOLE, "save_every", None, "save the state after so many steps; without it after each tenth "
     "of the run"),
    (WHOLE, "keep", 2, "how many states to keep while it trains"),
)
OVERWRITE_FLAG = (
    (SWITCH, "overwrite", False, "start anew in a directory that holds a run"),
)
# fmt: on


def given(values: flags.FlagValues, rows: tuple[tuple, ...]) -> dict:
    """Returns those of the rows' flags that were given, by name."""
    return {name: values[name].value for _, name, _, _ in rows if values[name].value}


def task_of(values: flags.FlagValues):
    """Returns the task that `TASK_FLAG` and `TASK_OPTION_FLAGS` ask for."""
    from bit_keras.data.tasks import task

    return task(values.task, **given(values, TASK_OPTION_FLAGS))


def budget_of(values: flags.FlagValues) -> dict:
    """Returns the arguments of `HyperRule.scaled` that `BUDGET_FLAGS` ask for."""
    return {name: values[name].value for _, name, _, _ in BUDGET_FLAGS}


def scale_of(values: flags.FlagValues) -> dict:
    """Returns the arguments of `finetune` that `SCALE_FLAGS` ask for, with the strategy made.

    Several workers meet before TensorFlow computes anything, such as the reading of a task.
    """
    from bit_keras.training.strategy import strategy

    strategy(values.strategy)
    return {name: values[name].value for _, name, _, _ in SCALE_FLAGS}


def pretrained_of(values: flags.FlagValues) -> bool | str:
    """Returns the `pretrained=` of a constructor that `--weights` asks for."""
    return {None: True, "none": False}.get(values.weights, values.weights)


def whole_numbers(values: flags.FlagValues, name: str) -> tuple[int, ...]:
    """Returns the integers of a flag that takes a list.

    Raises:
        ValueError: one is no integer.
    """
    try:
        return tuple(int(text) for text in values[name].value)
    except ValueError:
        raise ValueError(
            f"--{name} takes integers with commas between them, such as 0,1,2; got "
            f"{','.join(values[name].value)!r}."
        ) from None

"""The command line: `bit-keras COMMAND --flags`, one command a recipe."""

import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import flags

from bit_keras._version import __version__
from bit_keras.nearest_name import nearest_name

_PACKAGE = str(Path(__file__).parent)

# What a wrong name, a bad file or a full disk raises; anything else is a fault of the program.
_USER_ERRORS = (ValueError, OSError, ImportError, FloatingPointError)

_TASK_OPTIONS = (
    "skip_corrupt",
    "data_dir",
    "manual_dir",
    "train_split",
    "test_split",
    "image_key",
    "label_key",
)
_BUDGET = ("steps", "batch_size", "base_lr", "resize", "crop")


@dataclass(frozen=True)
class Command:
    """A subcommand: what it does, its flags as (define, name, default, help), what runs it.

    `run` takes the flags' values and, for each of the optional `arguments`, a string.
    """

    summary: str
    flags: tuple[tuple, ...]
    run: Callable[..., int | None]
    arguments: tuple[str, ...] = ()


def _finetune(values: flags.FlagValues) -> None:
    from bit_keras.data.tasks import task
    from bit_keras.training.finetune import finetune
    from bit_keras.training.from_scratch import SMALL

    model = values.model or SMALL
    options = {name: values[name].value for name in _TASK_OPTIONS if values[name].value}
    finetune(
        model,
        task(values.task, **options),
        pretrained={None: True, "none": False}.get(values.weights, values.weights),
        recipe=values.recipe,
        budget={name: values[name].value for name in _BUDGET},
        output_dir=values.output_dir
        or Path("runs", re.sub(r"[^\w.-]+", "-", f"{model}-{values.task}")),
        examples_per_class=values.examples_per_class,
        seed=values.seed,
        overwrite=values.overwrite,
    )


def _models(values: flags.FlagValues, name: str | None = None) -> int:
    from bit_keras import tables

    if values.verify:
        return 1 if tables.print_cache() else 0
    if name is None:
        tables.print_models()
    else:
        tables.print_model(name)
    return 0


_WHOLE = flags.DEFINE_integer
_TEXT = flags.DEFINE_string

COMMANDS = {
    "finetune": Command(
        "Train a network on a task; without flags, a small one on embedded digits.",
        (
            (_TEXT, "model", None, "a model of the zoo, such as BiT-M-R50x1; without it R14x0.5, "
             "a small network that starts from random weights"),
            (_TEXT, "weights", None, "path of an official npz file, or 'none' for random weights; "
             "without it the model's upstream weights"),
            (_TEXT, "task", "digits", "'digits'; 'folder:PATH' with one subfolder of images a "
             "class; imagenet2012, cifar10, cifar100, pets, flowers; 'vtab/NAME'; 'tfds:DATASET'"),
            (_TEXT, "output_dir", None, "where the run is kept; without it runs/MODEL-TASK"),
            (_TEXT, "recipe", "paper", "the BiT-HyperRule of the 'paper' or of the 'official' "
             "code"),
            (_WHOLE, "examples_per_class", None, "train on a balanced subset"),
            (_WHOLE, "seed", 0, "the same seed gives the same numbers"),
            (_WHOLE, "steps", None, "another number of steps; the rule's boundaries move along"),
            (_WHOLE, "batch_size", None, "another batch size; the learning rate follows linearly, "
             "unless it is given"),
            (flags.DEFINE_float, "base_lr", None, "another learning rate"),
            (_WHOLE, "resize", None, "another side, in pixels, of the resized training image"),
            (_WHOLE, "crop", None, "another side, in pixels, of the crop"),
            (flags.DEFINE_bool, "skip_corrupt", False, "leave out images of a folder that cannot "
             "be decoded, with a warning for each"),
            (_TEXT, "data_dir", None, "where TFDS keeps its datasets"),
            (_TEXT, "manual_dir", None, "where files lie that TFDS cannot fetch by itself"),
            (_TEXT, "train_split", None, "another training split of a tfds: task"),
            (_TEXT, "test_split", None, "another test split of a tfds: task"),
            (_TEXT, "image_key", None, "the feature of a tfds: task that is the image"),
            (_TEXT, "label_key", None, "the feature of a tfds: task that is the label"),
            (flags.DEFINE_bool, "overwrite", False, "start anew in a directory that holds a run"),
        ),
        _finetune,
    ),
    "models": Command(
        "List all models, or all there is to know about one: its checkpoints, sizes, accuracies.",
        (
            (
                flags.DEFINE_bool,
                "verify",
                False,
                "hold each file of the cache against its digest at its first download",
            ),
        ),
        _models,
        ("MODEL",),
    ),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status: 2 if what was asked for cannot be done.

    Args:
        arguments: command and flags; None takes those of the process.
    """
    name, *rest = arguments if arguments is not None else sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print(_overview())
        return 0
    if name == "--version":
        print(f"bit_keras {__version__}")
        return 0
    if name not in COMMANDS:
        nearest = nearest_name(name, COMMANDS)
        return _refuse(f"Unknown command {name!r}; the nearest is {nearest!r}.\n\n{_overview()}")
    command = COMMANDS[name]
    values = flags.FlagValues()
    for define, flag, default, text in command.flags:
        define(flag, default, text, flag_values=values)
    if {"--help", "-h"} & set(rest):
        print(_usage(name, command))
        return 0
    try:
        _, *given = values([f"bit-keras {name}", *rest])
        if len(given) > len(command.arguments):
            unexpected = given[len(command.arguments)]
            return _refuse(f"Unexpected {unexpected!r}: flags are written --name=value.")
        return command.run(values, *given) or 0
    except flags.Error as error:
        return _refuse(f"{error} (bit-keras {name} --help lists the flags)")
    except _USER_ERRORS as error:
        if not _raised_by_us(error):
            raise
        return _refuse(str(error))
    except KeyboardInterrupt:
        return 130  # what shells give for Ctrl-C


def _overview() -> str:
    lines = [f"  {name:12}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        ["usage: bit-keras COMMAND [--flag=value ...]", "", *lines, "", "COMMAND --help: its flags"]
    )


def _usage(name: str, command: Command) -> str:
    arguments = "".join(f" [{argument}]" for argument in command.arguments)
    lines = [f"usage: bit-keras {name}{arguments} [--flag=value ...]", "", command.summary, ""]
    for _, flag, default, text in command.flags:
        default = f" (default: {default})" if default not in (None, False) else ""
        lines += textwrap.wrap(
            f"--{flag:20}{text}{default}",
            width=96,
            initial_indent="  ",
            subsequent_indent=" " * 24,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _refuse(message: str) -> int:
    print(f"bit-keras: {message}", file=sys.stderr)
    return 2


def _raised_by_us(error: BaseException) -> bool:
    """Whether the error is one of our messages, and not a fault met inside a library."""
    return traceback.extract_tb(error.__traceback__)[-1].filename.startswith(_PACKAGE)

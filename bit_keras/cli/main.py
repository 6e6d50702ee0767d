"""The command line: `bit-keras COMMAND --flags`, one module for each command.

Only the function that runs a command imports Keras and TensorFlow, which takes seconds, so a
mistyped command, flag or name is refused at once.
"""

import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from bit_keras._version import __version__
from bit_keras.cli import (
    cost,
    distill,
    evaluate,
    export,
    fewshot,
    finetune,
    models,
    pretrain,
    report,
    time,
    vtab,
)
from bit_keras.cli.flags import Command
from bit_keras.cli.standard_streams import lasting_streams
from bit_keras.cli.tensorflow_log import hide_tensorflow_log
from bit_keras.data.tasks import check_task_name
from bit_keras.models.variants import find_variant
from bit_keras.utils.nearest_name import nearest_name

_PACKAGE = str(Path(__file__).parents[1])

COMMANDS = {
    "cost": cost.COMMAND,
    "distill": distill.COMMAND,
    "evaluate": evaluate.COMMAND,
    "export": export.COMMAND,
    "fewshot": fewshot.COMMAND,
    "finetune": finetune.COMMAND,
    "models": models.COMMAND,
    "pretrain": pretrain.COMMAND,
    "report": report.COMMAND,
    "time": time.COMMAND,
    "vtab": vtab.COMMAND,
}

# The errors that a wrong name, a bad file or a full disk raises. For any other error the traceback
# is printed, because such an error is a fault of the program.
_USER_ERRORS = (ValueError, OSError, ImportError, FloatingPointError, RuntimeError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status, which is 2 if the request cannot be met.

    Args:
        arguments: the command and its flags; None takes them from the process.
    """
    hide_tensorflow_log()
    arguments = arguments if arguments is not None else sys.argv[1:]
    with lasting_streams() as output:
        status = _run(arguments)
        output.flush()
        if output.problem is None or status:
            return status
        problem = f"Standard output could not be written: {output.problem.strerror}."
        if _writes_files(arguments):
            print(f"bit-keras: {problem} The results are in the files.", file=sys.stderr)
            return 0
        return _refuse(f"{problem} What was printed is not complete.")


def _run(arguments: Sequence[str]) -> int:
    name, *rest = arguments or ["--help"]
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
        _check_arguments(name, command, given)
        _check_names(name, values)
        return command.run(values, *given) or 0
    except flags.Error as error:
        return _refuse(f"{error} (bit-keras {name} --help lists the flags)")
    except _USER_ERRORS as error:
        if not _raised_by_us(error):
            raise
        return _refuse(str(error))
    except KeyboardInterrupt:
        # 130 is the usual exit status of a program that was stopped by Ctrl-C.
        return 130


def _writes_files(arguments: Sequence[str]) -> bool:
    """Returns True for a command whose results are in files, so that its texts are not needed."""
    name, *rest = arguments or [""]
    if name not in COMMANDS or {"--help", "-h"} & set(rest):
        return False
    return bool({"output_dir", "output"} & {flag for _, flag, _, _ in COMMANDS[name].flags})


def _check_arguments(name: str, command: Command, given: list[str]) -> None:
    if len(given) < command.required:
        missing = command.arguments[len(given)]
        raise ValueError(f"{name} needs the argument {missing}; see bit-keras {name} --help.")
    unlimited = command.arguments and command.arguments[-1].endswith("...")
    if len(given) > len(command.arguments) and not unlimited:
        unexpected = given[len(command.arguments)]
        raise ValueError(f"Unexpected argument {unexpected!r}. Flags are written as --name=value.")


def _check_names(name: str, values: flags.FlagValues) -> None:
    """Raises a ValueError for an unknown model or task, before TensorFlow is imported."""
    if "model" in values and values.model:
        find_variant(values.model)
    if "task" in values and values.task:
        check_task_name(values.task, pretraining=name in ("pretrain", "distill"))
    if "tasks" in values:
        for task in values.tasks or ():
            check_task_name(f"vtab/{task}")


def _overview() -> str:
    lines = [f"  {name:12}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        ["usage: bit-keras COMMAND [--flag=value ...]", "", *lines, "", "COMMAND --help: its flags"]
    )


def _usage(name: str, command: Command) -> str:
    arguments = "".join(
        f" {argument}" if place < command.required else f" [{argument}]"
        for place, argument in enumerate(command.arguments)
    )
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
    """Returns True if bit_keras or the operating system raised an error, False if a library did.

    The operating system's errors about files (a full disk, no permission) are plain wherever they
    are raised.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return True
    return traceback.extract_tb(error.__traceback__)[-1].filename.startswith(_PACKAGE)

"""The command line: `bit-keras COMMAND --flags`, one command a recipe."""

import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from bit_keras._version import __version__
from bit_keras.commands import COMMANDS
from bit_keras.commands.command import Command
from bit_keras.nearest_name import nearest_name

_PACKAGE = str(Path(__file__).parent)

# What a wrong name, a bad file or a full disk raises; anything else is a fault of the program.
_USER_ERRORS = (ValueError, OSError, ImportError, FloatingPointError, RuntimeError)


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
        _check_arguments(name, command, given)
        return command.run(values, *given) or 0
    except flags.Error as error:
        return _refuse(f"{error} (bit-keras {name} --help lists the flags)")
    except _USER_ERRORS as error:
        if not _raised_by_us(error):
            raise
        return _refuse(str(error))
    except KeyboardInterrupt:
        return 130  # what shells give for Ctrl-C


def _check_arguments(name: str, command: Command, given: list[str]) -> None:
    if len(given) < command.required:
        raise ValueError(
            f"{name} needs {command.arguments[len(given)]}; see bit-keras {name} --help."
        )
    unlimited = command.arguments and command.arguments[-1].endswith("...")
    if len(given) > len(command.arguments) and not unlimited:
        unexpected = given[len(command.arguments)]
        raise ValueError(f"Unexpected {unexpected!r}: flags are written --name=value.")


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
    """Whether the error is one of our messages, and not a fault met inside a library.

    What the system says of a file (a full disk, no permission) is as plain wherever it is met.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return True
    return traceback.extract_tb(error.__traceback__)[-1].filename.startswith(_PACKAGE)

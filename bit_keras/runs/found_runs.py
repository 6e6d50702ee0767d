"""Finds the finished runs below some directories, and says why other runs cannot be used."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bit_keras.runs import run_directory
from bit_keras.utils.natural_order import natural_key
from bit_keras.utils.regular_file import read_regular_file

# The entries that a report needs of a fine-tuning run's configuration, and their types.
_FINETUNE = {
    "seed": int,
    "model": str,
    "weights": str,
    "task": str,
    "num_examples": int,
    "examples_per_class": int | None,
    "recipe": str,
    "budget": dict,
}


@dataclass(frozen=True)
class FoundRun:
    """A finished run: its directory and its metrics.

    Attributes:
        path: its directory.
        metrics: the content of its metrics.json.
    """

    path: Path
    metrics: dict[str, Any]

    @property
    def configuration(self) -> dict[str, Any]:
        """The configuration that the run was started with."""
        return self.metrics["configuration"]

    @property
    def command(self) -> str:
        """The name of the command that made the run, such as "finetune"."""
        return self.configuration["command"]

    @property
    def seed(self) -> Any:
        """The seed of the run, or the list of seeds of a study of several runs."""
        return self.metrics.get("seed")

    @property
    def is_study(self) -> bool:
        """True if this is a study of many runs (seeds, examples per class, or tasks)."""
        return isinstance(self.seed, list)

    @property
    def accuracy(self) -> float | None:
        """The test accuracy, 0 to 1; None for a study of many runs that has no single accuracy."""
        return self.metrics.get("test_accuracy")


@dataclass(frozen=True)
class LeftOut:
    """A directory whose run cannot be used.

    Attributes:
        path: the directory.
        reason: why the run cannot be used.
    """

    path: Path
    reason: str


def find_runs(
    paths: Sequence[str | os.PathLike],
) -> tuple[list[FoundRun], list[LeftOut]]:
    """Returns the finished runs in some directories, and the unusable runs with the reasons.

    Args:
        paths: directories of runs, or directories that hold runs at any depth.

    Raises:
        OSError: a path is not a directory.
    """
    runs, left_out, seen = [], [], set()
    for path in (Path(path).expanduser() for path in paths):
        if not path.is_dir():
            raise NotADirectoryError(
                f"There is no directory {path}. Expected a directory with runs, such as runs/."
            )
        directories, closed = _directories(path)
        left_out += closed
        for directory in directories:
            if directory.resolve() in seen:
                continue
            seen.add(directory.resolve())
            try:
                runs.append(FoundRun(directory, _read(directory)))
            except ValueError as error:
                left_out.append(LeftOut(directory, str(error)))
    return runs, left_out


def _directories(path: Path) -> tuple[list[Path], list[LeftOut]]:
    """Returns the directories below a path that hold a run, and those that cannot be listed."""
    closed = []

    def leave_out(error: OSError) -> None:
        closed.append(LeftOut(Path(error.filename), f"cannot be listed: {error.strerror}"))

    found = [
        Path(directory)
        for directory, _, files in os.walk(path, onerror=leave_out)
        if {run_directory.METRICS, run_directory.CONFIG} & set(files)
    ]
    return sorted(found, key=lambda directory: natural_key(str(directory))), closed


def _read(directory: Path) -> dict[str, Any]:
    """Returns the metrics of a run; if they cannot be used, raises a ValueError that says why."""
    if not (directory / run_directory.METRICS).exists():
        raise ValueError("unfinished")
    try:
        metrics = json.loads(read_regular_file(directory / run_directory.METRICS))
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{run_directory.METRICS} is damaged: {error}") from error
    problem = _problem(metrics)
    if problem:
        raise ValueError(f"{run_directory.METRICS} {problem}")
    return metrics


def _problem(metrics: Any) -> str | None:
    if not isinstance(metrics, dict):
        return "does not hold a JSON object"
    configuration = metrics.get("configuration")
    if not isinstance(configuration, dict) or not isinstance(configuration.get("command"), str):
        return "has no configuration with a command"
    is_finetune = configuration["command"] == "finetune"
    accuracy = metrics.get("test_accuracy")
    if accuracy is None and not is_finetune:
        # A study of several runs may have no single accuracy, so a missing accuracy is no problem.
        return None
    is_number = isinstance(accuracy, int | float) and not isinstance(accuracy, bool)
    # The comparison with 0 and 1 also refuses an accuracy of NaN.
    if not is_number or not 0 <= accuracy <= 1:
        return f"has test_accuracy {accuracy!r}, expected a number from 0 to 1"
    return _problem_of_finetune(configuration, metrics.get("seed")) if is_finetune else None


def _problem_of_finetune(configuration: dict[str, Any], seed: Any) -> str | None:
    values = {**configuration, "seed": seed}
    for name, kind in _FINETUNE.items():
        if not isinstance(values.get(name), kind):
            return f"has {name} {values.get(name)!r}, expected {getattr(kind, '__name__', kind)}"
    for name, value in configuration["budget"].items():
        if not isinstance(value, int | float):
            return f"has {name} {value!r} in its budget, expected a number"
    return None

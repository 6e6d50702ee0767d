"""Finished runs below some directories, and what else was found there."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bit_keras.training import run_directory

# What a table needs to know of a fine-tuning run.
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
    """A finished run.

    Attributes:
        path: its directory.
        metrics: the content of its metrics.json.
    """

    path: Path
    metrics: dict[str, Any]

    @property
    def configuration(self) -> dict[str, Any]:
        """What it was asked for."""
        return self.metrics["configuration"]

    @property
    def command(self) -> str:
        """The command that made it."""
        return self.configuration["command"]

    @property
    def seed(self) -> Any:
        """Its seed; a study has several."""
        return self.metrics.get("seed")

    @property
    def is_study(self) -> bool:
        """Whether it is many runs: those of several seeds, shots or tasks."""
        return isinstance(self.seed, list)

    @property
    def accuracy(self) -> float | None:
        """Its test accuracy, 0 to 1; None for a study that has no single one."""
        return self.metrics.get("test_accuracy")


@dataclass(frozen=True)
class LeftOut:
    """A directory whose run does not count.

    Attributes:
        path: the directory.
        reason: why.
    """

    path: Path
    reason: str


def find_runs(
    paths: Sequence[str | os.PathLike],
) -> tuple[list[FoundRun], list[LeftOut]]:
    """Returns the finished runs below the paths, each once, and the others with the reason.

    Args:
        paths: directories of runs, or that hold such directories at any depth.

    Raises:
        OSError: a path is no directory.
    """
    runs, left_out, seen = [], [], set()
    for path in map(Path, paths):
        if not path.is_dir():
            raise NotADirectoryError(
                f"There is no directory {path}: expected one that holds runs, such as runs/."
            )
        for directory in _directories(path):
            if directory.resolve() in seen:
                continue
            seen.add(directory.resolve())
            try:
                runs.append(FoundRun(directory, _read(directory)))
            except ValueError as error:
                left_out.append(LeftOut(directory, str(error)))
    return runs, left_out


def _directories(path: Path) -> list[Path]:
    """Those that hold a run, finished or not, in a fixed order."""
    found = [
        Path(directory)
        for directory, _, files in os.walk(path)
        if {run_directory.METRICS, run_directory.CONFIG} & set(files)
    ]
    return sorted(found)


def _read(directory: Path) -> dict[str, Any]:
    """Returns the metrics; raises a ValueError that says why they cannot be used."""
    if not (directory / run_directory.METRICS).exists():
        raise ValueError("unfinished")
    try:
        metrics = json.loads((directory / run_directory.METRICS).read_text())
    except (ValueError, OSError) as error:
        raise ValueError(f"{run_directory.METRICS} is damaged: {error}") from error
    problem = _problem(metrics)
    if problem:
        raise ValueError(f"{run_directory.METRICS} {problem}")
    return metrics


def _problem(metrics: Any) -> str | None:
    if not isinstance(metrics, dict):
        return "holds no object"
    configuration = metrics.get("configuration")
    if not isinstance(configuration, dict) or not isinstance(configuration.get("command"), str):
        return "has no configuration with a command"
    is_finetune = configuration["command"] == "finetune"
    accuracy = metrics.get("test_accuracy")
    if accuracy is None and not is_finetune:
        return None  # of a study, which has many
    is_number = isinstance(accuracy, int | float) and not isinstance(accuracy, bool)
    if not is_number or not 0 <= accuracy <= 1:  # nan is not either
        return f"has test_accuracy {accuracy!r}, expected a number from 0 to 1"
    return _problem_of_finetune(configuration, metrics.get("seed")) if is_finetune else None


def _problem_of_finetune(configuration: dict[str, Any], seed: Any) -> str | None:
    values = {**configuration, "seed": seed}
    for name, kind in _FINETUNE.items():
        if not isinstance(values.get(name), kind):
            return f"has {name} {values.get(name)!r}, expected {kind}"
    for name, value in configuration["budget"].items():
        if not isinstance(value, int | float):
            return f"has {name} {value!r} in its budget, expected a number"
    return None

"""The few-shot curve by fine-tuning: a run for each point, in a directory of its own."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from bit_keras.data.tasks import Task
from bit_keras.studies.fewshot_record import PICTURE, TABLE
from bit_keras.studies.fresh_start import fresh_start, release
from bit_keras.training import run_directory
from bit_keras.training.finetune import finetune

_NAME = re.compile(r"shots-\d+-seed-\d+")


def finetune_accuracies(
    model: str | keras.Model,
    task: Task,
    points: Sequence[tuple[int, int]],
    directory: Path,
    verbose: bool,
    **arguments: Any,
) -> tuple[dict[tuple[int, int], float], float]:
    """Returns the test accuracy, 0 to 1, of a run for each point, and the seconds they took.

    The run is in directory/shots-K-seed-S. One that is finished there is taken as it is, even
    without its model.keras; one that was interrupted goes on.

    Args:
        model: for `finetune`; each run starts from the weights that it has at the call,
            and it has them again in the end.
        task: for `finetune`.
        points: pairs of training images per class and seed.
        directory: of the study, which has checked that the runs there are its own.
        verbose: for `finetune`.
        **arguments: for `finetune`.
    """
    fresh, runs = fresh_start(model), {}
    try:
        for place, (count, seed) in enumerate(points, start=1):
            run = directory / f"shots-{count}-seed-{seed}"
            if not (run / run_directory.METRICS).exists():
                if verbose:
                    print(f"\nRun {place} of {len(points)}: {count} examples a class, seed {seed}")
                point = {"output_dir": run, "examples_per_class": count, "seed": seed}
                finetune(fresh(), task, verbose=verbose, **point, **arguments)
                release()
            runs[count, seed] = run_directory.read_json(run / run_directory.METRICS)
    finally:
        fresh()
    accuracies = {point: metrics["test_accuracy"] for point, metrics in runs.items()}
    return accuracies, sum(metrics["seconds"] for metrics in runs.values())


def check_origin(directory: Path) -> None:
    """Raises a ValueError if there are files of a study, but nothing says of which."""
    found = [file.name for file in _files(directory)]
    if found and not (directory / run_directory.CONFIG).exists():
        raise ValueError(
            f"{directory} holds {found[0]} but no {run_directory.CONFIG}, so it is not known which "
            "study it belongs to. Choose another output_dir, or pass overwrite to remove it."
        )


def remove_study(directory: Path) -> None:
    """Removes the runs of an earlier study, its picture and its table, and nothing else."""
    for file in _files(directory):
        if file.is_dir():
            run_directory.remove(file)
            with contextlib.suppress(OSError):  # something else is in it
                file.rmdir()
        else:
            file.unlink()


def _files(directory: Path) -> list[Path]:
    """What a study leaves, beside the files of every run."""
    runs = (path.parent for path in directory.glob(f"shots-*/{run_directory.CONFIG}"))
    runs = [run for run in runs if _NAME.fullmatch(run.name)]
    return [*runs, *(directory / name for name in (PICTURE, TABLE) if (directory / name).exists())]

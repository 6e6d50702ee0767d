"""Trains the missing runs of a study, and summarizes results over seeds."""

import gc
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from bit_keras.data.tasks import Task
from bit_keras.models.task_record import record_of, remember
from bit_keras.runs import run_directory
from bit_keras.training import workers
from bit_keras.training.finetune import finetune
from bit_keras.training.preparation import choose_strategy
from bit_keras.utils.printable import print_text


@dataclass(frozen=True)
class Summary:
    """The median and standard deviation of a result, such as an accuracy, over several seeds.

    Attributes:
        median: the median, which the paper reports; None without values.
        std: sample standard deviation (n - 1); None for fewer than two values.
        count: number of values.
    """

    median: float | None
    std: float | None
    count: int

    def entries(self) -> dict[str, float | int | None]:
        """Returns a dict with the keys `median`, `std` and `n` (the number of runs)."""
        return {"median": self.median, "std": self.std, "n": self.count}

    def percent(self) -> str:
        """Returns median, standard deviation and number of runs, such as `98.30 ± 0.12 (n=3)`."""
        spread = "" if self.std is None else f" ± {100 * self.std:.2f}"
        return f"{100 * self.median:.2f}{spread} (n={self.count})"


def summarize(values: Sequence[float]) -> Summary:
    """Returns the median, the standard deviation and the number of the given values.

    >>> summarize([0.5, 0.7, 0.6]).percent()
    '60.00 ± 10.00 (n=3)'
    """
    return Summary(
        median=statistics.median(values) if values else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
        count=len(values),
    )


def refuse_workers(model: str | keras.Model, strategy: str = "auto") -> None:
    """Raises a ValueError if the strategy has several workers, which would all write a study.

    It is called before the task is read, because several workers must connect before TensorFlow
    computes anything.
    """
    if workers.are_several(choose_strategy(model, strategy)):
        raise ValueError(
            "A study of several runs cannot be made under several workers, because all of them "
            "would write its files. Start single runs (bit_keras.finetune, bit-keras finetune), or "
            "train on one machine."
        )


@dataclass(frozen=True)
class StudyRun:
    """One fine-tuning run of a study.

    Attributes:
        title: what differs from the other runs, such as "svhn, seed 0"; it is printed.
        output_dir: the directory of the run.
        make_task: returns the task; called only if the run has to be trained.
        arguments: keyword arguments of `finetune` for this run, such as `seed`.
        expected: entries of the configuration that a finished run in `output_dir` must have.
    """

    title: str
    output_dir: Path
    make_task: Callable[[], Task]
    arguments: Mapping[str, Any]
    expected: Mapping[str, Any]


def finished_metrics(run: StudyRun) -> dict | None:
    """Returns the metrics of a finished run without loading its model.

    None means that there are none, that metrics.json is damaged, or that it belongs to another
    configuration. `finetune` raises an error in the last two cases.
    """
    path = run.output_dir / run_directory.METRICS
    try:
        metrics = run_directory.read_json(path) if path.exists() else {}
    except ValueError:
        return None
    asked = metrics.get("configuration")
    is_same = isinstance(asked, dict) and asked.items() >= run.expected.items()
    return metrics if is_same and "test_accuracy" in metrics else None


def train_missing(
    model: str | keras.Model,
    runs: Sequence[StudyRun],
    *,
    verbose: bool,
    caught: tuple[type[Exception], ...] = (),
    **arguments: Any,
) -> Iterator[tuple[StudyRun, dict | Exception]]:
    """Yields each run of a study with its metrics; trains the runs that are not finished yet.

    A finished run is not trained again, even if its model.keras is gone; an interrupted run
    continues from its last state.

    Args:
        model: a name from `list_models()`, or a network. A network starts each run with the
            weights that it was given with, and has them again at the end.
        runs: the runs, in order.
        verbose: if True, print the title of each run that is trained, and show progress bars.
        caught: exceptions that are yielded in place of the metrics; others end the study.
        **arguments: keyword arguments of `finetune` that all runs share.
    """
    restored = fresh_start(model)
    try:
        for place, run in enumerate(runs, start=1):
            outcome = finished_metrics(run)
            if outcome is None:
                if verbose:
                    print_text(f"\nRun {place} of {len(runs)}: {run.title}")
                own = {"output_dir": run.output_dir, "verbose": verbose, **run.arguments}
                try:
                    task = run.make_task()
                    outcome = finetune(restored(), task, **own, **arguments).metrics
                    _check_accuracy(run, outcome)
                except caught as error:
                    outcome = error
                release()
            yield run, outcome
    finally:
        restored()


def _check_accuracy(run: StudyRun, metrics: dict) -> None:
    """Raises a ValueError if the metrics of a finished run lack the test accuracy."""
    if "test_accuracy" not in metrics:
        raise ValueError(
            f"{run.output_dir / run_directory.METRICS} has no test_accuracy. Remove this "
            "directory, so that the run is trained again."
        )


def fresh_start(model: str | keras.Model) -> Callable[[], str | keras.Model]:
    """Returns a function that restores a model's initial weights before each run.

    A name is returned unchanged. A network is always the same object: the function restores the
    weights, the class names and the states of random generators that it had when `fresh_start` was
    called. The copy of them is held in memory.

    Args:
        model: a name from `list_models()`, or a network.
    """
    if isinstance(model, str):
        return lambda: model
    initial = [keras.ops.convert_to_numpy(variable.value) for variable in model.variables]
    record = record_of(model)

    def restore() -> keras.Model:
        for variable, value in zip(model.variables, initial, strict=True):
            variable.assign(value)
        remember(model, record)
        return model

    return restore


def release() -> None:
    """Frees the memory of a finished run, whose objects refer to each other in cycles."""
    gc.collect()

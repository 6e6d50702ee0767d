"""Fine-tunes on one task with several seeds, and summarizes the test accuracies."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from bit_keras.data.tasks import Task, as_task
from bit_keras.experiments.repeated_runs import (
    StudyRun,
    refuse_workers,
    release,
    summarize,
    train_missing,
)
from bit_keras.runs import run_directory
from bit_keras.training.finetune import check_arguments, prepare
from bit_keras.training.preparation import RANDOM
from bit_keras.utils.integers import distinct_integers
from bit_keras.utils.printable import print_text
from bit_keras.utils.text_table import TextTable


def finetune_seeds(
    model: str | keras.Model,
    task: str | Task,
    *,
    seeds: Sequence[int],
    output_dir: str | os.PathLike,
    overwrite: bool = False,
    verbose: bool = True,
    **arguments: Any,
) -> dict:
    """Fine-tunes a network once for each seed, and reports the median of the test accuracies.

    Each run is a `finetune` run, in `output_dir/seed-K`. The same call on the same directory
    continues where it was interrupted or killed, also inside a run; a finished seed is not run
    again. A later call may ask for other seeds, but every other argument must be the same.

    Args:
        model: as for `finetune`. A network starts each run with the weights that it was given
            with, and has them again at the end.
        task: as for `finetune`.
        seeds: distinct integers, at least 0.
        output_dir: where the runs and seeds.json are kept.
        overwrite: start anew in a directory that holds runs.
        verbose: if True, print what is done and show progress bars.
        **arguments: further keyword arguments of `finetune`.

    Returns:
        The content of seeds.json, which is written after each run: the finished `seeds` among
        those asked for, rising; `test_accuracies` (0 to 1), one for each; their `median`; `std`,
        the sample standard deviation (None for one seed); `n`, the number of finished seeds;
        `configuration` and `versions`.

    Raises:
        ValueError: as `finetune`; or no seeds, repeated or negative ones, or an `output_dir` that
            holds a single run.
        OSError: as `finetune`.
    """
    seeds = distinct_integers("seeds", seeds, least=0)
    check_arguments(model, seed=seeds[0], **arguments)
    directory = Path(output_dir).expanduser()
    run_directory.check_writable_later(directory)
    if not overwrite:
        _refuse_single_run(directory)
    refuse_workers(model, arguments.get("strategy", "auto"))
    task = as_task(task)
    configuration = _common_configuration(model, task, seeds[0], arguments)
    # All arguments are checked before the first file is written or removed.
    known = {} if overwrite else _finished(directory, configuration)
    accuracies = {seed: known[seed] for seed in seeds if seed in known}
    run_directory.check_writable(directory)
    if overwrite:
        run_directory.remove(directory)
    record = _write(directory, configuration, accuracies)
    runs = [
        StudyRun(
            f"seed {seed}",
            run_directory.seed_run(directory, seed),
            lambda: task,
            {"seed": seed},
            {**configuration, "seed": seed},
        )
        for seed in seeds
    ]
    for run, metrics in train_missing(model, runs, verbose=verbose, **arguments):
        accuracies[run.arguments["seed"]] = metrics["test_accuracy"]
        record = _write(directory, configuration, accuracies)
    if verbose:
        print_text()
        _table(record).print()
        print_text(f"Written to {directory}.")
    return record


def _common_configuration(
    model: str | keras.Model, task: Task, seed: int, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Returns the part of a run's configuration that all seeds share; checks all arguments."""
    planned = prepare(model, task, seed=seed, **arguments)
    configuration = planned.configuration
    del configuration["seed"]
    if configuration["weights"] == RANDOM:
        # The digest of random initial weights differs for each seed, so it is not a part of the
        # common configuration.
        del configuration["initial_state_sha256"]
    del planned
    release()
    return configuration


def _refuse_single_run(directory: Path) -> None:
    if (directory / run_directory.CONFIG).exists():
        raise ValueError(
            f"{directory} holds a single run ({run_directory.CONFIG}), but several seeds were "
            "asked for. Choose another output_dir (--output_dir), or pass overwrite (--overwrite) "
            "to remove the run."
        )


def _finished(directory: Path, configuration: dict[str, Any]) -> dict[int, float]:
    """Maps each seed that has a finished run in the directory to the run's test accuracy.

    Raises:
        ValueError: the directory holds a single run, or runs of another configuration.
    """
    _refuse_single_run(directory)
    path = directory / run_directory.SEEDS
    if not path.exists():
        return {}
    record = run_directory.read_json(path)
    accuracies = {}
    try:
        run_directory.refuse_other(directory, dict(record["configuration"]), configuration)
        for seed in record["seeds"]:
            run = run_directory.seed_run(directory, seed)
            if (run / run_directory.METRICS).exists():
                metrics = run_directory.read_json(run / run_directory.METRICS)
                there = {key: metrics["configuration"].get(key) for key in configuration}
                run_directory.refuse_other(run, there, configuration)
                accuracies[seed] = metrics["test_accuracy"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a record of seeds ({error!r}). Choose another output_dir, or pass "
            "overwrite to start anew."
        ) from error
    return accuracies


def _write(directory: Path, configuration: dict, accuracies: dict[int, float]) -> dict:
    """Writes the test accuracies by seed, and their summary, to seeds.json; returns its content."""
    seeds = sorted(accuracies)
    values = [accuracies[seed] for seed in seeds]
    record = {
        "seeds": seeds,
        "test_accuracies": values,
        **summarize(values).entries(),
        "configuration": configuration,
        "versions": run_directory.versions(),
    }
    run_directory.write_json(directory / run_directory.SEEDS, record)
    return record


def _table(record: dict) -> TextTable:
    configuration, values = record["configuration"], record["test_accuracies"]
    rows = [
        (str(seed), f"{100 * value:.2f}")
        for seed, value in zip(record["seeds"], values, strict=True)
    ]
    return TextTable(
        f"{configuration['model']} on {configuration['task']}",
        ("seed", "test accuracy (%)"),
        (*rows, ("median ± std", summarize(values).percent())),
    )

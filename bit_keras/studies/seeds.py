"""One task fine-tuned with several seeds: a run for each, and their median and spread."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from bit_keras.data.tasks import Task
from bit_keras.data.tasks import task as task_of_name
from bit_keras.studies.fresh_start import fresh_start, release
from bit_keras.studies.integers import distinct_integers
from bit_keras.studies.summary import summarize
from bit_keras.studies.text_table import TextTable
from bit_keras.training import run_directory, workers
from bit_keras.training.finetune import finetune
from bit_keras.training.plan import RANDOM, plan


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

    Each run is a `finetune` run, in `output_dir/seed-K`. The same call on the same directory goes
    on where it was interrupted or killed, also inside a run; a seed that is finished is not run
    again. Other seeds may be asked for there, but nothing else that is different.

    Args:
        model: as for `finetune`. A network starts each run from the weights that it is given
            with, and has them again in the end.
        task: as for `finetune`.
        seeds: distinct integers, at least 0.
        output_dir: where the runs and seeds.json are kept.
        overwrite: start anew in a directory that holds runs.
        verbose: whether to say what is done and to show progress bars.
        **arguments: the others of `finetune`.

    Returns:
        The content of seeds.json, which is written after each run: the `seeds` of these that are
        finished, rising; `test_accuracies` (0 to 1), one for each; their `median`; `std`, the
        sample standard deviation (None for one seed); `n`, how many; `configuration` and
        `versions`.

    Raises:
        ValueError: as `finetune`; or seeds that are none, repeated or negative, or an
            `output_dir` that holds a single run.
        OSError: as `finetune`.
    """
    seeds = distinct_integers("seeds", seeds, least=0)
    task = task_of_name(task) if isinstance(task, str) else task
    configuration = _common_configuration(model, task, seeds[0], arguments)
    directory = Path(output_dir)
    # Nothing is written before all that was asked for is known to be possible.
    known = {} if overwrite else _finished(directory, configuration)
    accuracies = {seed: known[seed] for seed in seeds if seed in known}
    run_directory.check_writable(directory)
    if overwrite:
        run_directory.remove(directory)
    record = _write(directory, configuration, accuracies)
    fresh = fresh_start(model)
    try:
        for place, seed in enumerate(seeds, start=1):
            if seed in accuracies:
                continue
            if verbose:
                print(f"\nSeed {seed}, run {place} of {len(seeds)}")
            run = run_directory.seed_run(directory, seed)
            result = finetune(
                fresh(), task, output_dir=run, seed=seed, verbose=verbose, **arguments
            )
            accuracies[seed] = result.metrics["test_accuracy"]
            record = _write(directory, configuration, accuracies)
            del result
            release()
    finally:
        fresh()  # so that the same call with the same network goes on
    if verbose:
        print()
        _table(record).print()
        print(f"It is in {directory}.")
    return record


def _common_configuration(
    model: str | keras.Model, task: Task, seed: int, arguments: dict[str, Any]
) -> dict[str, Any]:
    """What the runs of all seeds have in common; raises what `finetune` raises of it."""
    planned = plan(model, task, seed=seed, **arguments)
    if workers.are_several(planned.strategy):
        raise ValueError(
            "Several seeds were asked for under several workers, which would all write seeds.json. "
            "Give each seed a call of its own (seed, --seed), or train on one machine."
        )
    configuration = planned.configuration
    del configuration["seed"]
    if configuration["weights"] == RANDOM:
        del configuration["initial_state_sha256"]  # the seed draws them
    del planned
    release()
    return configuration


def _finished(directory: Path, configuration: dict[str, Any]) -> dict[int, float]:
    """Returns the test accuracies that the directory holds, by seed.

    Raises:
        ValueError: it holds a single run, or runs of another configuration.
    """
    if (directory / run_directory.CONFIG).exists():
        raise ValueError(
            f"{directory} holds a run of its own ({run_directory.CONFIG}), where those of several "
            "seeds were asked for. Choose another output_dir, or pass overwrite to remove it."
        )
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
            f"{path} is not a record of seeds ({error!r}). Choose another output_dir, or overwrite."
        ) from error
    return accuracies


def _write(directory: Path, configuration: dict, accuracies: dict[int, float]) -> dict:
    """Writes seeds.json and returns its content."""
    seeds = sorted(accuracies)
    values = [accuracies[seed] for seed in seeds]
    summary = summarize(values) if values else None
    record = {
        "seeds": seeds,
        "test_accuracies": values,
        "median": summary.median if summary else None,
        "std": summary.std if summary else None,
        "n": len(values),
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

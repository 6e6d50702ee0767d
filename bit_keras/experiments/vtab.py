"""VTAB-1k: fine-tunes on each of its 19 tasks, and computes the score."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task
from bit_keras.data.tasks import task as task_of_name
from bit_keras.data.vtab import NUM_TRAIN, NUM_VALIDATION, TASKS
from bit_keras.experiments.repeated_runs import (
    StudyRun,
    refuse_workers,
    release,
    train_missing,
)
from bit_keras.experiments.vtab_report import (
    PICTURE,
    TABLE,
    failure_of,
    metrics_of,
    verdict,
    write_record,
)
from bit_keras.runs import run_directory
from bit_keras.training.finetune import planned_rule, prepare
from bit_keras.utils.integers import distinct_integers
from bit_keras.utils.nearest_name import unknown_name
from bit_keras.utils.printable import print_text

# Two image sizes, one below and one above an area of 96 * 96 pixels, where the BiT-HyperRule
# changes the resolution. The arguments of a study are checked with both.
_SIZES = (32, 32), (500, 500)


def vtab(
    model: str,
    *,
    output_dir: str | os.PathLike,
    tasks: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    pretrained: bool | str | os.PathLike = True,
    recipe: str = "paper",
    budget: Mapping[str, float | None] | None = None,
    data_dir: str | os.PathLike | None = None,
    manual_dir: str | os.PathLike | None = None,
    overwrite: bool = False,
    verbose: bool = True,
) -> dict[str, Any]:
    """Fine-tunes a network on each task of VTAB-1k, and returns the test accuracies.

    A task that fails, for example because its data is missing, is recorded and does not stop the
    others; Ctrl-C and SIGTERM stop the study. The same call on the same directory continues it,
    and runs only what is missing. A later call may ask for other tasks and seeds, but for no
    other model, weights or rule.

    Args:
        model: a name from `list_models()`, or "R14x0.5" (a small network, from random weights).
        output_dir: where the study is kept: a run in seed-K/TASK for each task and seed,
            config.json, metrics.json, vtab.md and vtab.png.
        tasks: some of the 19, such as "clevr-count"; None is all.
        seeds: every task is run once with each seed.
        pretrained: as for the model's constructor; each task gets a new head.
        recipe: the BiT-HyperRule, "paper" or "official".
        budget: keyword arguments of `HyperRule.scaled`, which is applied to the rule of each task.
        data_dir: where TFDS keeps its datasets.
        manual_dir: where the files are that TFDS cannot download.
        overwrite: start anew in a directory that holds such a study.
        verbose: if True, print what is done and the table, and show progress bars.

    Returns:
        The content of metrics.json. `test_accuracy` is the score: the mean over the 19 tasks, from
        0 to 1, and its median over the seeds that have all 19 (None if no seed has). `scores`,
        `groups` and `tasks` hold scores, means and accuracies by seed; `failures` the errors.

    Raises:
        ValueError: an unknown model, task or recipe, a budget that does not fit, or an
            `output_dir` that holds something else.
        OSError: the weights are not on this machine, or `output_dir` cannot be written.
        CheckpointError: the weights do not fit, or are damaged.
    """
    keys, seeds = _checked_tasks(tasks), distinct_integers("seeds", seeds, least=0)
    training = {
        "pretrained": pretrained,
        "recipe": recipe,
        "budget": {name: value for name, value in (budget or {}).items() if value is not None},
    }
    refuse_workers(model)
    # An error that concerns every task is raised here once, and not recorded for each task.
    configuration = _checked_configuration(model, training)
    directory = Path(output_dir).expanduser()
    run_directory.check_writable(directory)
    if overwrite:
        configs = (directory.glob(f"seed-*/{key}/{run_directory.CONFIG}") for key in TASKS)
        run_directory.remove_runs(config.parent for found in configs for config in found)
    run_directory.claim(directory, configuration, overwrite)
    for outdated in (run_directory.METRICS, TABLE, PICTURE):
        (directory / outdated).unlink(missing_ok=True)

    stores = {"data_dir": data_dir, "manual_dir": manual_dir}
    results, failures = {seed: {} for seed in seeds}, []
    runs = [_run(directory, key, seed, stores, configuration) for seed in seeds for key in keys]
    # A dataset's code and files, or too small a memory, may raise any exception, so all exceptions
    # are caught and recorded as failures.
    outcomes = train_missing(model, runs, verbose=verbose, caught=(Exception,), **training)
    for run, outcome in outcomes:
        key, seed = run.output_dir.name, run.arguments["seed"]
        if isinstance(outcome, Exception):
            failures.append(failure_of(key, seed, outcome))
            if verbose:
                print_text(f"Failed: {failures[-1]}")
        else:
            results[seed][key] = outcome["test_accuracy"]

    metrics = metrics_of(results, failures, configuration)
    table = write_record(results, failures, keys, metrics, directory)
    if verbose:
        table.print()
        for failure in failures:
            print_text(f"Failed: {failure.in_short()}")
        print_text(f"{verdict(results)} Written to {directory}.")
        if failures:
            print_text(
                "Remove the causes and repeat the command, which then runs only what is missing."
            )
    return metrics


def _run(directory: Path, key: str, seed: int, stores: dict, configuration: dict) -> StudyRun:
    """Returns the run for a task and a seed; the task is loaded only if the run is trained."""
    return StudyRun(
        f"{key}, seed {seed}",
        run_directory.seed_run(directory, seed) / key,
        lambda: task_of_name(f"vtab/{key}", **stores),
        {"seed": seed},
        {
            "command": "finetune",
            "task": f"vtab/{key}",
            "seed": seed,
            **{name: configuration[name] for name in ("model", "weights", "budget")},
        },
    )


def _checked_tasks(tasks: Sequence[str] | None) -> list[str]:
    """Checks the names of VTAB-1k tasks; returns them in the order of the paper's table."""
    if tasks is None:
        return list(TASKS)
    if isinstance(tasks, str) or not tasks:
        raise ValueError(f"tasks={tasks!r}; expected a list of tasks, or None for all.")
    for key in tasks:
        if key not in TASKS:
            raise unknown_name("task of VTAB-1k", key, TASKS)
    return [key for key in TASKS if key in tasks]


def _checked_configuration(model: str, training: dict[str, Any]) -> dict[str, Any]:
    """Returns the configuration of the VTAB-1k study; checks arguments that all tasks share."""
    if not isinstance(model, str):
        raise ValueError(
            f"model={model!r}; expected a name, such as 'BiT-M-R50x1'. A network cannot be given, "
            "because its head fits one number of classes, and the tasks have different numbers."
        )
    # The function `prepare` reads no image, so the examples of this stand-in task need no images.
    images = Examples(NUM_TRAIN + NUM_VALIDATION, elements=None, read=None)
    small, large = (Task("vtab", ("0", "1"), size, images, images) for size in _SIZES)
    planned = prepare(model, large, **training).configuration
    release()
    planned_rule(small, None, planned)  # It raises an error if the budget does not fit.
    return {
        "command": "vtab",
        **{key: planned[key] for key in ("model", "weights", "initial_state_sha256", "task")},
        "recipe": training["recipe"],
        "budget": run_directory.plain(training["budget"]),
    }

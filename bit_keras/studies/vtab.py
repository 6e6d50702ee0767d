"""VTAB-1k: 19 tasks in a row, each a fine-tuning run of its own, and the score."""

import contextlib
import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bit_keras.data.tasks import Examples, Task
from bit_keras.data.tasks import task as task_of_name
from bit_keras.data.vtab import NUM_TRAIN, NUM_VALIDATION, TASKS
from bit_keras.nearest_name import nearest_name
from bit_keras.studies.fresh_start import release
from bit_keras.studies.integers import distinct_integers
from bit_keras.studies.vtab_record import (
    PICTURE,
    TABLE,
    Failure,
    metrics_of,
    verdict,
    write_record,
)
from bit_keras.training import run_directory
from bit_keras.training.finetune import finetune
from bit_keras.training.plan import plan

# An image on either side of the rule's boundary of 96 * 96 pixels.
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
    """Fine-tunes a network on each task of VTAB-1k, and returns what came out.

    A task that fails, as for want of its data, is recorded and does not stop the others; Ctrl-C
    and SIGTERM stop all. The same call on the same directory then goes on, and makes only what is
    missing. Other tasks and seeds may be asked for there, but no other model, weights or rule.

    Args:
        model: a name from `list_models()`, or "R14x0.5" (a small network, from random weights).
        output_dir: with a run in seed-K/TASK for each task and seed, config.json, metrics.json,
            vtab.md and vtab.png.
        tasks: some of the 19, such as "clevr-count"; None is all.
        seeds: for each a run of every task.
        pretrained: as for the model's constructor; each task has a head of its own.
        recipe: of the BiT-HyperRule, "paper" or "official".
        budget: arguments of `HyperRule.scaled`, which is applied to the rule of each task.
        data_dir: where TFDS keeps its datasets.
        manual_dir: where files lie that TFDS cannot download.
        overwrite: start anew in a directory that holds such a study.
        verbose: whether to say what is done, with progress bars, and to print the table.

    Returns:
        The content of metrics.json: `test_accuracy` is the score, the mean over the 19 tasks, from
        0 to 1 (its median over the seeds that have all of them; None where none has); `scores`,
        `groups` and `tasks` hold scores, means and accuracies by seed; `failures` what failed.

    Raises:
        ValueError: an unknown model, task or recipe, a budget that does not fit, or an
            `output_dir` of something else.
        OSError: no weights on this machine, or an `output_dir` that cannot be written.
        CheckpointError: the weights do not fit, or are damaged.
    """
    keys, seeds = _checked_tasks(tasks), distinct_integers("seeds", seeds, least=0)
    training = {
        "pretrained": pretrained,
        "recipe": recipe,
        "budget": {name: value for name, value in (budget or {}).items() if value is not None},
    }
    # A mistake that concerns every task is refused here, once, and not by each of them.
    configuration = _checked_configuration(model, training)
    directory = Path(output_dir)
    run_directory.check_writable(directory)
    if overwrite:
        _remove_runs(directory)
    run_directory.claim(directory, configuration, overwrite)
    for outdated in (run_directory.METRICS, TABLE, PICTURE):
        (directory / outdated).unlink(missing_ok=True)

    stores = {"data_dir": data_dir, "manual_dir": manual_dir}
    results, failures = {seed: {} for seed in seeds}, []
    places = [(seed, key) for seed in seeds for key in keys]
    for number, (seed, key) in enumerate(places, start=1):
        outcome = _finished(directory, seed, key, configuration)
        if outcome is None:
            if verbose:
                print(f"\n{number} of {len(places)}: {key}, seed {seed}")
            arguments = {**training, "output_dir": _run(directory, seed, key), "verbose": verbose}
            outcome = _attempt(model, key, seed, stores, arguments)
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            results[seed][key] = outcome

    metrics = metrics_of(results, failures, configuration)
    table = write_record(results, failures, keys, metrics, directory)
    if verbose:
        table.print()
        for failure in failures:
            print(f"Failed: {failure.in_short()}")
        print(f"{verdict(results)} Written to {directory}.")
        if failures:
            print("When the cause is mended, the same call makes what is missing.")
    return metrics


def _attempt(
    model: str, key: str, seed: int, stores: dict, arguments: dict[str, Any]
) -> float | Failure:
    """The test accuracy of a run, or why there is none."""
    try:
        task = task_of_name(f"vtab/{key}", **stores)
        return finetune(model, task, seed=seed, **arguments).metrics["test_accuracy"]
    # Whatever a dataset's code, its files, or too small a memory raises.
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        failure = Failure(key, seed, message, traceback.format_exc())
        if arguments["verbose"]:
            print(f"Failed: {failure}")
        return failure
    finally:
        release()


def _checked_tasks(tasks: Sequence[str] | None) -> list[str]:
    """The tasks that were asked for, in the table's order."""
    if tasks is None:
        return list(TASKS)
    if isinstance(tasks, str) or not tasks:
        raise ValueError(f"tasks={tasks!r}; expected a list of tasks, or None for all.")
    for key in tasks:
        if key not in TASKS:
            raise ValueError(
                f"Unknown task {key!r} of VTAB-1k. Did you mean {nearest_name(key, TASKS)!r}? "
                f"Known: {', '.join(TASKS)}."
            )
    return [key for key in TASKS if key in tasks]


def _checked_configuration(model: str, training: dict[str, Any]) -> dict[str, Any]:
    """What tells the study from others; it raises what `finetune` would raise of every task."""
    if not isinstance(model, str):
        raise ValueError(
            f"model={model!r}; expected a name, such as 'BiT-M-R50x1': the tasks have different "
            "numbers of classes, and a network has the head for one."
        )
    images = Examples(NUM_TRAIN + NUM_VALIDATION, elements=None, read=None)  # none is read
    for size in _SIZES:
        task = Task("vtab", ("0", "1"), size, images, images)
        planned = plan(model, task, **training).configuration
        release()
    return {
        "command": "vtab",
        **{key: planned[key] for key in ("model", "weights", "initial_state_sha256", "task")},
        "recipe": training["recipe"],
        "budget": run_directory.plain(training["budget"]),
    }


def _run(directory: Path, seed: int, key: str) -> Path:
    return run_directory.seed_run(directory, seed) / key


def _finished(directory: Path, seed: int, key: str, configuration: dict) -> float | None:
    """The test accuracy of a run that need not be made; its model is not loaded."""
    path = _run(directory, seed, key) / run_directory.METRICS
    if not path.exists():
        return None
    try:
        metrics = run_directory.read_json(path)
    except ValueError:
        return None  # damaged: `finetune` says so
    expected = {
        "command": "finetune",
        "task": f"vtab/{key}",
        "seed": seed,
        **{key: configuration[key] for key in ("model", "weights", "budget")},
    }
    asked = metrics.get("configuration")
    is_same = isinstance(asked, dict) and asked.items() >= expected.items()
    return metrics.get("test_accuracy") if is_same else None


def _remove_runs(directory: Path) -> None:
    """Removes the files of the runs of an earlier study, and nothing else."""
    for key in TASKS:
        for path in directory.glob(f"seed-*/{key}/{run_directory.CONFIG}"):
            run_directory.remove(path.parent)
            with contextlib.suppress(OSError):  # something else is in it
                path.parent.rmdir()

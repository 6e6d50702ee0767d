"""A trained model on a task's test split, kept in a directory: numbers, tables and pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import time
from pathlib import Path

import keras

from bit_keras.data.tasks import Task
from bit_keras.data.tasks import task as task_of_name
from bit_keras.evaluation.accuracy import by_class_name, check_classifier, predict
from bit_keras.evaluation.confusion import plot_confusion_matrix
from bit_keras.evaluation.mistakes import plot_worst_mistakes
from bit_keras.hyperrule import HyperRule
from bit_keras.studies.class_tables import print_summary, write_classes
from bit_keras.studies.model_source import SavedModel, ZooModel, find_model
from bit_keras.training import run_directory

COMMAND = "evaluate"
PER_CLASS, CONFUSION, MISTAKES = "per_class.csv", "confusion_matrix.png", "worst_mistakes.png"


def evaluate_saved(
    model: str | os.PathLike,
    task: str | Task | None = None,
    *,
    weights: str | None = None,
    crop: int | None = None,
    task_options: dict | None = None,
    output_dir: str | os.PathLike | None = None,
    overwrite: bool = False,
    verbose: bool = True,
) -> dict:
    """Evaluates a saved or published model on a task's whole test split.

    It leaves config.json, metrics.json (with the accuracy of each class), per_class.csv,
    confusion_matrix.png and worst_mistakes.png. The same call on the same directory finds them
    there and does nothing; an evaluation of something else is refused.

    Args:
        model: the directory of a finished run, a .keras file, or a name from `list_models()`.
        task: a task, or a name for `bit_keras.task`; None is the one of the model's run.
        weights: of a named model: a name from `list_checkpoints(model)`, or the path of an npz
            file; None is the upstream checkpoint.
        crop: side in pixels of the resized test image; None is what the model was trained at,
            where that is known, and else the BiT-HyperRule's.
        task_options: of `bit_keras.task`, where the task is a name.
        output_dir: where the evaluation is kept; None is runs/evaluate-MODEL-TASK.
        overwrite: start anew in a directory that holds another evaluation.
        verbose: whether to say what is done and what came out, and to show a progress bar.

    Returns:
        The content of metrics.json.

    Raises:
        ValueError: a model or a task that cannot be used, a model that does not fit the task, or
            an `output_dir` of something else.
        OSError: no model or data there, or an `output_dir` that cannot be written.
        FloatingPointError: the model gives logits that are not finite.
    """
    source = find_model(model, weights)
    task = _task(source, model, task, task_options or {})
    _check_head(source, task)
    directory = Path(output_dir) if output_dir else _default_directory(source, task)
    _check_directory(directory, overwrite)
    network = source.load()
    rule = _rule(network, task, source.crop if crop is None else crop)
    check_classifier(network, task, rule)
    configuration = {
        "command": COMMAND,
        "model": source.name or network.name,
        "weights": source.weights,
        "model_sha256": _digest(source.file),
        **task.identity,
        "crop": rule.crop,
    }
    del configuration["num_examples"]  # it says nothing of the test split
    # Nothing is written before all that was asked for is known to be possible.
    finished = run_directory.claim(directory, configuration, overwrite)
    if finished is not None:
        if verbose:
            print(f"{directory} holds this evaluation, finished: nothing to do.")
        return finished
    return _evaluate(network, task, rule, configuration, directory, verbose)


def _task(source: SavedModel | ZooModel, model, task: str | Task | None, options: dict) -> Task:
    if isinstance(task, Task):
        return task
    name = task or source.task
    if name is None:
        raise ValueError(
            f"It is not known which task {model} was trained on: name one (--task), such as "
            "'cifar10' or 'folder:PATH'."
        )
    return task_of_name(name, **options)


def _check_head(source: SavedModel | ZooModel, task: Task) -> None:
    """Refuses a checkpoint of other classes before it is downloaded."""
    if source.classes not in (None, task.num_classes):
        raise ValueError(
            f"{source.name} with its weights {source.weights!r} tells {source.classes} classes "
            f"apart; task {task.name!r} has {task.num_classes}. Give weights (--weights) that were "
            f"trained for it: bit-keras models {source.name} lists all, and bit-keras finetune "
            "makes them."
        )


def _default_directory(source: SavedModel | ZooModel, task: Task) -> Path:
    name = f"{COMMAND}-{source.label}-{task.name}"
    return Path("runs", re.sub(r"[^\w.-]+", "-", name))


def _check_directory(directory: Path, overwrite: bool) -> None:
    """Refuses a directory of something else: to overwrite it would remove a trained model."""
    if (directory / run_directory.MODEL).exists():
        found = f"a {run_directory.MODEL}"
    elif (directory / run_directory.SEEDS).exists() or run_directory.seed_runs(directory):
        found = "the runs of several seeds"
    elif (directory / run_directory.CONFIG).exists():
        try:
            command = run_directory.read_json(directory / run_directory.CONFIG).get("command")
        except ValueError:
            if not overwrite:
                raise
            command = COMMAND  # a damaged record, with no model beside it, is nothing to lose
        found = None if command == COMMAND else f"a run of bit-keras {command}"
    else:
        found = None
    if found:
        raise ValueError(
            f"{directory} holds {found}, and an evaluation wants a directory of its own. Choose "
            "another output_dir."
        )


def _rule(network: keras.Model, task: Task, crop: int | None) -> HyperRule:
    """The BiT-HyperRule at a crop, else at the size that the network is bound to, else its own."""
    rule = HyperRule.for_task(task.num_examples, task.image_size, network.name)
    shape = getattr(network, "input_shape", None)
    if crop is None and isinstance(shape, tuple) and len(shape) == 4:
        crop = shape[1]
    if crop is None:
        return rule
    return dataclasses.replace(rule, resize=max(rule.resize, crop), crop=crop)


def _digest(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _evaluate(
    network: keras.Model,
    task: Task,
    rule: HyperRule,
    configuration: dict,
    directory: Path,
    verbose: bool,
) -> dict:
    """Evaluates, and writes all but the configuration."""
    for name in (PER_CLASS, CONFUSION, MISTAKES):
        (directory / name).unlink(missing_ok=True)  # of what was here before
    if verbose:
        print(
            f"{configuration['model']} ({configuration['weights']} weights) on {task.name}: "
            f"{task.num_test_examples} test images at {rule.crop} pixels"
        )
    start = time.monotonic()
    predictions = predict(network, task, rule, progress_bar=verbose)
    metrics = {
        **predictions.metrics(),
        "per_class_accuracy": by_class_name(predictions.per_class_accuracy(), task),
        "seconds": round(time.monotonic() - start, 1),
        "seed": None,
        "configuration": configuration,
        "versions": run_directory.versions(),
    }
    write_classes(predictions, task, directory / PER_CLASS)
    plot_confusion_matrix(predictions, task, directory / CONFUSION)
    plot_worst_mistakes(predictions, task, rule, directory / MISTAKES)
    run_directory.write_json(directory / run_directory.METRICS, metrics)
    if verbose:
        print_summary(predictions, task)
        print(f"Written to {directory}.")
    return metrics

"""Evaluates a model on a task's whole test split, with or without a directory for the results."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import os
import re
import time
from pathlib import Path

import keras
import numpy as np
from absl import logging

from bit_keras.data.decoding import colour_of
from bit_keras.data.tasks import Task, as_task
from bit_keras.evaluation.confusion import plot_confusion_matrix
from bit_keras.evaluation.fitting_task import (
    FittingTask,
    load_task,
    names_for_task,
    with_all_images,
)
from bit_keras.evaluation.plots import plot_worst_mistakes, without_losing_results
from bit_keras.evaluation.predictions import Predictions, check_classifier, predict
from bit_keras.hyperrule import HyperRule
from bit_keras.models.task_record import record_of
from bit_keras.runs import run_directory
from bit_keras.runs.known_classes import wordnet_ids
from bit_keras.runs.trained_model import SavedModel, ZooModel, check_weights_of, find_model
from bit_keras.utils.atomic_file import atomic_write
from bit_keras.utils.integers import check_integer

COMMAND = "evaluate"

PER_CLASS, CONFUSION, MISTAKES = "per_class.csv", "confusion_matrix.png", "worst_mistakes.png"


def evaluate(model: keras.Model, task: str | Task, rule: HyperRule | None = None) -> dict:
    """Returns a model's accuracy and loss on a task's whole test split.

    The labels of the task are matched with `model.class_names` by name; a task of some of the
    model's classes is evaluated on them. If `class_names` is None, the model's logits are taken for
    the task's classes in their order.

    Args:
        model: a classifier that gives logits.
        task: a task, or a name for `bit_keras.task`. All images of a folder without splits are test
            images, unless the model is known to have been trained on this folder.
        rule: the rule that the model was trained by; its `crop` is the side of the images, and
            the rest is not used. If None, the images have the size of the test images of the
            training, which a model that was trained by a run keeps; or else the size that the
            model takes, or that of the BiT-HyperRule.

    Returns:
        A dict of `test_accuracy` (0 to 1), `test_top5_accuracy` (0 to 1; None for tasks of up to
        five classes), `test_loss` (nats), `num_test_examples`, and `per_class_accuracy`, a dict
        by class name (0 to 1; None for a class without test images).

    Raises:
        ValueError: the model does not give one logit for each class, or the task has classes that
            the model does not have.
        FloatingPointError: the model gives logits that are not finite.
    """
    record = record_of(model)
    if isinstance(task, str):
        loaded = load_task(task, record, {})
    else:
        loaded = with_all_images(as_task(task), record)
    if record is None:
        fitting = loaded.in_order(model.name)
    else:
        fitting = loaded.matched(record.class_names, model.name)
    for note in fitting.notes:
        logging.warning("%s", note)
    task = fitting.task
    known = None if record is None else record.crop
    crop = _crop(model, task, known) if rule is None else rule.crop
    check_classifier(model, task, crop)
    predictions = predict(model, task, crop)
    return {
        **predictions.metrics(),
        "per_class_accuracy": by_class_name(predictions.per_class_accuracy(), task),
    }


def by_class_name(values: np.ndarray, task: Task) -> dict[str, float | None]:
    """Returns a dict from each class name to the value of the class; a value of nan becomes None.

    Raises:
        ValueError: two classes have the same name.
    """
    if len(set(task.class_names)) < task.num_classes:
        repeated = next(name for name in task.class_names if task.class_names.count(name) > 1)
        raise ValueError(
            f"Task {task.name!r}: several classes are called {repeated!r}; expected a different "
            "name for each class. Rename them with dataclasses.replace(task, class_names=...)."
        )
    numbers = (None if np.isnan(value) else float(value) for value in values)
    return dict(zip(task.class_names, numbers, strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """An evaluation of a saved or published model: checked and ready to be run.

    Attributes:
        network: the model.
        task: the task whose whole test split is used.
        crop: side in pixels of the resized images.
        configuration: the content of config.json.
        directory: where the evaluation is kept.
        finished: the content of metrics.json, if the directory holds this evaluation finished.
        notes: sentences that say which images and classes the evaluation is on.
    """

    network: keras.Model
    task: Task
    crop: int
    configuration: dict
    directory: Path
    finished: dict | None
    notes: tuple[str, ...] = ()


def prepare_evaluation(
    model: str | os.PathLike,
    task: str | Task | None = None,
    *,
    weights: str | None = None,
    crop: int | None = None,
    task_options: dict | None = None,
    output_dir: str | os.PathLike | None = None,
    overwrite: bool = False,
) -> Evaluation:
    """Prepares the evaluation of a saved or published model on a task's whole test split.

    The same call on the same directory returns the finished evaluation; a directory of something
    else is refused.

    Args:
        model: the directory of a finished run, a .keras file, or a name from `list_models()`.
        task: a task, or a name for `bit_keras.task`; None is the task of the model's run. The
            images and the labels are chosen as by `evaluate`.
        weights: only for a named model: a name from `list_checkpoints(model)`, or the path of an
            npz file; None is the upstream checkpoint.
        crop: side in pixels of the resized test image; None is the crop that the model was
            trained at, or the BiT-HyperRule's where that is not known.
        task_options: keyword arguments of `bit_keras.task`, if the task is a name. Those of the
            model's run are the defaults for the task of the run.
        output_dir: where the evaluation is kept; None is runs/evaluate-MODEL-TASK.
        overwrite: start anew in a directory that holds another evaluation.

    Raises:
        ValueError: a model or a task cannot be used, the model does not fit the task, or
            `output_dir` holds something else.
        OSError: the model or the data is missing, or `output_dir` cannot be written.
    """
    source = find_model(model, weights)
    # Reading a task may take minutes, so what does not depend on it is checked first.
    check_weights_of(source)
    if crop is not None:
        crop = check_integer("crop", crop)
    if output_dir is not None:
        _check_directory(Path(output_dir).expanduser(), overwrite)
    fitting = _fitting_task(source, model, task, task_options or {})
    task = fitting.task
    _check_head(source, task)
    directory = Path(output_dir).expanduser() if output_dir else _default_directory(source, task)
    _check_directory(directory, overwrite)
    network = source.load()
    crop = _crop(network, task, source.crop if crop is None else crop)
    check_classifier(network, task, crop)
    configuration = {
        "command": COMMAND,
        "model": source.name or network.name,
        "weights": source.weights,
        "model_sha256": _digest(source.file),
        **task.identity,
        "crop": crop,
    }
    # The size of the training split does not change the result of an evaluation, so it is not part
    # of the evaluation's configuration.
    del configuration["num_examples"]

    # All arguments have been checked by now. `claim` writes the first file of the evaluation.
    finished = run_directory.claim(directory, configuration, overwrite)
    return Evaluation(network, task, crop, configuration, directory, finished, fitting.notes)


def _fitting_task(
    source: SavedModel | ZooModel, model: str | os.PathLike, task: str | Task | None, options: dict
) -> FittingTask:
    """Returns the task to evaluate on, whose labels are the indices of the model's classes."""
    record = source.record
    published = isinstance(source, ZooModel) and source.checkpoint is not None
    if isinstance(task, Task):
        loaded = with_all_images(task, record, data_is_known=published)
    elif task is None and (record is None or record.name is None):
        raise ValueError(
            f"It is not known which task {model} was trained on. Name a task (--task), such as "
            "'cifar10' or 'folder:PATH'."
        )
    else:
        loaded = load_task(task, record, options, data_is_known=published)
        if "background" not in options:
            background = colour_of(source.background)
            shown = dataclasses.replace(loaded.task, background=background)
            loaded = dataclasses.replace(loaded, task=shown)
    names = wordnet_ids(source.classes) if record is None else names_for_task(record, loaded.task)
    if names is None and (record is None or record.names_sha256 is None):
        return loaded.in_order(source.label)
    return loaded.matched(names, source.label)


def _check_head(source: SavedModel | ZooModel, task: Task) -> None:
    """Raises a ValueError, before any download, if a checkpoint has another number of classes."""
    if source.classes not in (None, task.num_classes):
        raise ValueError(
            f"{source.name} with the weights {source.weights!r} has {source.classes} classes; "
            f"task {task.name!r} has {task.num_classes}. Give weights (--weights) that were "
            f"trained for this task: 'bit-keras models {source.name}' lists the published ones, "
            "and 'bit-keras finetune' trains your own."
        )


def _default_directory(source: SavedModel | ZooModel, task: Task) -> Path:
    name = f"{COMMAND}-{source.label}-{task.name}"
    return Path("runs", re.sub(r"[^\w.-]+", "-", name))


def _check_directory(directory: Path, overwrite: bool) -> None:
    """Checks that an evaluation may be written to a directory; makes nothing yet.

    Raises:
        ValueError: the directory holds a trained model or a run that is no evaluation.
        OSError: the directory cannot be written.
    """
    run_directory.check_writable_later(directory)
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
            # With `overwrite`, a damaged config.json is replaced, because the directory holds no
            # trained model.
            command = COMMAND
        found = None if command == COMMAND else f"a run of bit-keras {command}"
    else:
        found = None
    if found:
        raise ValueError(
            f"{directory} holds {found}; an evaluation needs a directory of its own. Choose "
            "another output_dir."
        )


def _crop(network: keras.Model, task: Task, crop: int | None) -> int:
    """Returns the given crop; for None, the network's fixed input size or the BiT-HyperRule's."""
    shape = getattr(network, "input_shape", None)
    if crop is None and isinstance(shape, tuple) and len(shape) == 4:
        crop = shape[1]
    if crop is None:
        return HyperRule.for_task(task.num_examples, task.image_size, network.name).crop
    return check_integer("crop", crop)


def _digest(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def run_evaluation(evaluation: Evaluation, progress_bar: bool = False) -> tuple[dict, Predictions]:
    """Runs a prepared evaluation, and writes the results to the evaluation's directory.

    The files are metrics.json (with the accuracy of each class), per_class.csv,
    confusion_matrix.png and worst_mistakes.png.

    Args:
        evaluation: an evaluation that is not finished.
        progress_bar: if True, show a progress bar.

    Returns:
        The content of metrics.json, and the predictions.

    Raises:
        ValueError: an image cannot be read, or two classes have the same name.
        FloatingPointError: the model gives logits that are not finite.
    """
    task, crop, directory = evaluation.task, evaluation.crop, evaluation.directory
    for name in (PER_CLASS, CONFUSION, MISTAKES):
        # Tables and pictures of an earlier evaluation in this directory are removed.
        (directory / name).unlink(missing_ok=True)
    start = time.monotonic()
    predictions = predict(evaluation.network, task, crop, progress_bar)
    metrics = {
        **predictions.metrics(),
        "per_class_accuracy": by_class_name(predictions.per_class_accuracy(), task),
        "seconds": round(time.monotonic() - start, 1),
        "seed": None,
        "configuration": evaluation.configuration,
        "versions": run_directory.versions(),
    }
    with without_losing_results(directory / PER_CLASS) as path:
        write_classes(predictions, task, path)
    with without_losing_results(directory / CONFUSION) as path:
        plot_confusion_matrix(predictions, task, path)
    with without_losing_results(directory / MISTAKES) as path:
        plot_worst_mistakes(predictions, task, crop, path)
    run_directory.write_json(directory / run_directory.METRICS, metrics)
    return metrics, predictions


def write_classes(predictions: Predictions, task: Task, path: Path) -> None:
    """Writes a CSV file with a row for each class: test images, number right, accuracy (0 to 1).

    The accuracy of a class without test images is left empty.

    Args:
        predictions: the predictions of the whole test split.
        task: the task whose class names are written.
        path: the CSV file.
    """
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        rows = csv.writer(file)
        rows.writerow(["class", "num_test_examples", "num_right", "accuracy"])
        for name, total, right in zip(
            task.class_names, *predictions.per_class_counts(), strict=True
        ):
            rows.writerow([name, total, right, right / total if total else ""])

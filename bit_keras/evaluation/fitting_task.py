"""Loads a task to evaluate a trained model on, and fits its images and labels to the model."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from bit_keras.data.class_names import matched, subset_note
from bit_keras.data.tasks import Task, evaluation_task
from bit_keras.models.task_record import TaskRecord, digest_of_names
from bit_keras.runs.known_classes import names_of_run

_FOLDER = "folder:"


@dataclasses.dataclass(frozen=True)
class FittingTask:
    """A task to evaluate a model on, and notes on how its images and classes were chosen.

    Attributes:
        task: the task.
        notes: sentences that say which images and classes were chosen.
    """

    task: Task
    notes: tuple[str, ...] = ()

    def matched(self, class_names: tuple[str, ...] | None, model: str) -> FittingTask:
        """Returns the task with a model's classes in the order of the logits, matched by name.

        Args:
            class_names: the names of the model's classes. If they are None, its logits are taken
                for the task's classes in their order.
            model: the name of the model, for messages.

        Raises:
            ValueError: the task has classes that the model does not have.
        """
        if class_names is None:
            return self
        note = subset_note(self.task, class_names)
        task = matched(self.task, class_names, model)
        return FittingTask(task, (*self.notes, *([note] if note else [])))

    def in_order(self, model: str) -> FittingTask:
        """Returns the task for a model without class names, with a note that says so.

        Args:
            model: the name of the model, for the note.
        """
        note = (
            f"The names of the classes of {model} are not known, so its logits are taken for the "
            f"classes of {self.task.name} in their order."
        )
        return FittingTask(self.task, (*self.notes, note))


def load_task(
    name: str | None,
    record: TaskRecord | None,
    options: dict[str, Any],
    data_is_known: bool = False,
) -> FittingTask:
    """Loads a task to evaluate a model on.

    The test images are those of its test split; for a folder without splits, all of its images, or
    the held-out ones if the model was trained on this folder.

    Args:
        name: a name for `bit_keras.task`; None is the task that the model was trained on.
        record: what is known of the task that the model was trained on, or None.
        options: keyword arguments of `bit_keras.task`. Those of the training are the defaults, if
            this is the task of the training.
        data_is_known: if True, the model is known not to have been trained on images of the user,
            although there is no record.

    Raises:
        ValueError: the model was trained on images with several labels, and no task is named; or
            the task cannot be used.
        OSError: the data are missing.
    """
    if record is not None and name in (None, record.name):
        options = {**record.options, **options}
    task = evaluation_task(name or _own_name(record), **options)
    if name is None:
        task = dataclasses.replace(task, name=record.name)
    return with_all_images(task, record, data_is_known)


def with_all_images(
    task: Task, record: TaskRecord | None, data_is_known: bool = False
) -> FittingTask:
    """Returns a task whose test images are all images that the model was not trained on.

    Arguments and result are as for `load_task`. A task whose training and test images are not those
    of the whole folder, because the caller replaced them, is returned with its own test images.
    """
    notes = [task.note] if task.note else []
    splits = [examples.num_examples for examples in (task.train, task.test)]
    if task.whole is None or task.whole.num_examples != sum(splits):
        return FittingTask(task, tuple(notes))
    total = task.whole.num_examples
    if record is not None and _is_training_folder(task, record):
        notes.append(
            f"The model was trained on the folder of {task.name}, so it is evaluated on the "
            f"{task.num_test_examples} of {total} images that were held out."
        )
        if record.source and task.source != record.source:
            notes.append(
                "The files of this folder have changed since the training, so some of these images "
                "may have been trained on."
            )
        return FittingTask(task, tuple(notes))
    notes.append(f"All {total} images of {task.name} are test images.")
    if not data_is_known and (record is None or record.name is None):
        notes.append(
            "It is not known which images the model was trained on. If these images are among "
            "them, the accuracy is too high."
        )
    elif record is not None and _may_hold_training_images(task, record):
        notes.append(
            f"The model was trained on images of {record.location}. If these images are among them "
            "or are copies of them, the accuracy is too high."
        )
    return FittingTask(dataclasses.replace(task, train=task.whole, test=task.whole), tuple(notes))


def names_for_task(record: TaskRecord, task: Task) -> tuple[str, ...] | None:
    """Returns the names of a run's classes, with which the labels of a task are matched.

    Returns:
        The names; or None if neither the names nor a digest of them are known.

    Raises:
        ValueError: the run is of an earlier version, and the names can no longer be found.
    """
    if record.class_names is None and record.names_sha256 in (
        None,
        digest_of_names(task.class_names),
    ):
        # The task may have the classes of the training, so that no class names are needed. Or the
        # run recorded neither class names nor their digest, so that none can be found.
        return None
    try:
        return names_of_run(record)
    except (ValueError, OSError, ImportError) as error:
        raise ValueError(
            f"The classes of task {task.name!r} are not those that the model was trained on, whose "
            f"names are not known: {error}. Load the model in Python, set model.class_names to the "
            "names in the order of its logits, and call bit_keras.evaluate(model, task)."
        ) from error


def _own_name(record: TaskRecord) -> str:
    if record.several_labels:
        raise ValueError(
            f"The model was trained on {record.name!r}, whose images have several labels. Name a "
            "task with one label for each image (--task), as an evaluation needs."
        )
    # The path in the task's name may be relative to the directory in which the training was
    # started, so the recorded real path is used.
    return f"{_FOLDER}{record.location}" if record.location else record.name


def _may_hold_training_images(task: Task, record: TaskRecord) -> bool:
    """Returns True if a task's folder is inside, around or a copy of the training folder."""
    if not record.location:
        return False
    here, there = Path(task.location), Path(record.location)
    nested = here.is_relative_to(there) or there.is_relative_to(here)
    return nested or record.source == task.source


def _is_training_folder(task: Task, record: TaskRecord) -> bool:
    location = record.location
    if not location and record.name is not None and record.name.startswith(_FOLDER):
        location = os.path.realpath(Path(record.name.removeprefix(_FOLDER)).expanduser())
    # If the training folder no longer exists, a folder with the same file names is taken for the
    # training folder under a new name.
    was_moved = record.source == task.source and not os.path.exists(location)
    return location == task.location or bool(record.source and was_moved)

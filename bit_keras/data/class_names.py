"""Matches the labels of a task with the classes of a trained model, by name."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task

# The largest number of class names that an error message lists.
_LISTED = 10


def matched(task: Task, class_names: Sequence[str], model: str) -> Task:
    """Returns a task whose labels are the classes of a model; each image keeps its class's name.

    Names are compared in Unicode's form NFC, because some file systems store another form. A task
    of some of the classes becomes a task of all of them, in which the others have no images.

    Args:
        task: the task.
        class_names: the names of the model's classes, in the order of its logits.
        model: the name of the model, for messages.

    Raises:
        ValueError: the task has classes that the model does not have, or several classes of the
            same name.
    """
    class_names = tuple(class_names)
    if class_names == task.class_names:
        return task
    places = places_of_classes(task, class_names, model)
    parts = {
        part: _relabelled(getattr(task, part), places)
        for part in ("train", "test", "validation", "whole")
    }
    return dataclasses.replace(task, class_names=class_names, **parts)


def places_of_classes(task: Task, class_names: Sequence[str], model: str) -> np.ndarray:
    """Returns the index of each class of a task among a model's classes, int64 `[num_classes]`.

    Arguments and errors are those of `matched`.
    """
    if tuple(class_names) == task.class_names:
        return np.arange(task.num_classes)
    _refuse_repeated(class_names, f"model {model!r}")
    _refuse_repeated(task.class_names, f"task {task.name!r}")
    place = {comparable(name): number for number, name in enumerate(class_names)}
    if any(comparable(name) not in place for name in task.class_names):
        raise ValueError(_difference(task, class_names, model))
    return np.array([place[comparable(name)] for name in task.class_names], np.int64)


def matched_for_training(task: Task, class_names: Sequence[str] | None, model: str) -> Task:
    """Returns the task with its labels matched by name to the classes of a model to be trained.

    Args:
        task: the task.
        class_names: the names of the model's classes; None if they are not known, and the task is
            then returned as it is.
        model: the name of the model, for messages.

    Raises:
        ValueError: the task and the model do not have the same classes.
    """
    if class_names is None:
        return task
    try:
        same = matched(task, class_names, model)
        if len(class_names) == task.num_classes:
            return same
        missing = [name for name in class_names if comparable(name) not in _comparable_names(task)]
        problem = (
            f"Task {task.name!r} has {task.num_classes} of the {len(class_names)} classes of model "
            f"{model!r}, and a training needs images of all of them. The task lacks: "
            f"{_listed(missing)}. Add images of these classes."
        )
    except ValueError as error:
        problem = str(error)
    if len(class_names) == task.num_classes:
        advice = "To train the head of this model for other classes, set model.class_names = None."
    else:
        advice = (
            f"Or train a new head for the {task.num_classes} classes of the task, as in "
            f"bit_keras.Model(model.input, "
            f"keras.layers.Dense({task.num_classes})(model.endpoints['features']))."
        )
    raise ValueError(f"{problem} {advice}")


def subset_note(task: Task, class_names: Sequence[str] | None) -> str:
    """Returns a sentence that says which of a model's classes a task has; empty if it has all.

    Args:
        task: the task, before `matched`.
        class_names: the names of the model's classes, or None if they are not known.
    """
    if class_names is None or task.num_classes >= len(class_names):
        return ""
    return (
        f"Task {task.name!r} has {task.num_classes} of the model's {len(class_names)} classes, and "
        f"the model is evaluated on them: {_listed(task.class_names)}. A prediction may be any of "
        f"the {len(class_names)} classes."
    )


def comparable(name: str) -> str:
    """Returns a class name in Unicode's form NFC, because file systems may store other forms."""
    return unicodedata.normalize("NFC", name)


def _comparable_names(task: Task) -> set[str]:
    return set(map(comparable, task.class_names))


def _refuse_repeated(names: Sequence[str], owner: str) -> None:
    repeated = [name for name, count in Counter(map(comparable, names)).items() if count > 1]
    if repeated:
        raise ValueError(
            f"The classes of a model and a task are matched by name, but {owner} has several "
            f"classes of the same name: {_listed(repeated)}. Give each class a name of its own."
        )


def _difference(task: Task, class_names: Sequence[str], model: str) -> str:
    ours, theirs = set(map(comparable, task.class_names)), set(map(comparable, class_names))
    return (
        f"The classes of task {task.name!r} are not those of model {model!r}. Only the task has: "
        f"{_listed(sorted(ours - theirs))}. Only the model has: {_listed(sorted(theirs - ours))}. "
        "Rename the classes of the task, which are the folders of a 'folder:' task, as the model "
        "names them, or leave out the images of other classes."
    )


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(map(repr, names[:_LISTED])) or "none"
    return listed if len(names) <= _LISTED else f"{listed} and {len(names) - _LISTED} more"


def _relabelled(examples: Examples | None, places: np.ndarray) -> Examples | None:
    if examples is None:
        return None
    return dataclasses.replace(
        examples,
        read=lambda element: _with_label(examples.read(element), places),
        labels=None if examples.labels is None else places[examples.labels],
    )


def _with_label(example: dict[str, tf.Tensor], places: np.ndarray) -> dict[str, tf.Tensor]:
    return {**example, "label": tf.gather(places, example["label"])}

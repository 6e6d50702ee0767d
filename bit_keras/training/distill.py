"""Distillation by "A good teacher is patient and consistent" (arXiv 2106.05237)."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bit_keras.data.class_names import matched, places_of_classes
from bit_keras.data.corrupt_images import naming_unreadable
from bit_keras.data.tasks import Task, as_task, pretraining_task
from bit_keras.evaluation.metrics import precision_at_one
from bit_keras.evaluation.predictions import check_classifier
from bit_keras.models import zoo
from bit_keras.models.resnet import ResNetV2
from bit_keras.models.variants import list_models
from bit_keras.runs import run_directory
from bit_keras.runs.trained_model import find_model, is_exported
from bit_keras.training.distiller import Distiller
from bit_keras.training.options import HELD_OUT, KEEP, RunOptions
from bit_keras.training.preparation import (
    RANDOM,
    build_network,
    check_model,
    choose_strategy,
    configuration,
    entries_of,
    given,
    hold_out,
    origin_of,
    save_memory,
    with_classes_of,
)
from bit_keras.training.recipes import DISTILL, RECIPES, SMALL_DISTILL, Recipe, UpstreamRule
from bit_keras.training.run import Result, execute
from bit_keras.training.teachers import (
    FEATURES,
    LOGITS,
    Teacher,
    TeacherView,
    check_file,
    teacher_of_file,
    teacher_of_model,
)
from bit_keras.training.upstream import upstream_run

# The number of training images whose features give the mean and variance of each feature of the
# teacher: enough for a mean that is right to a few percent of the standard deviation.
_STANDARDIZED_ON = 2_000


def distill(
    teacher: keras.Model | str | os.PathLike | Callable[[], keras.Model],
    student: str | ResNetV2,
    task: str | Task,
    *,
    output_dir: str | os.PathLike,
    pretrained: bool | str | os.PathLike = False,
    temperature: float = 1.0,
    teacher_output: str = LOGITS,
    teacher_size: int | None = None,
    teacher_mean: float | Sequence[float] | None = None,
    teacher_std: float | Sequence[float] | None = None,
    budget: dict[str, float | None] | None = None,
    eval_every: int | None = None,
    held_out: float = HELD_OUT,
    seed: int = 0,
    strategy: str = "auto",
    batch_split: int = 1,
    remat: str | None = None,
    dtype: str | None = None,
    save_every: int | None = None,
    keep: int = KEEP,
    overwrite: bool = False,
    verbose: bool = True,
) -> Result:
    """Trains a student network to predict the outputs of a teacher (distillation).

    Both networks see the same crop of the same mixture of two images (Inception crop, flip, and
    mixup at every step, Beta(1, 1)). Named models are trained by Adam for the paper's 1200 epochs;
    R14x0.5 and networks of your own by SGD. Labels are used for the accuracy only. The images of
    "pictures:FOLDER" have none: the student then has the teacher's classes, and the accuracy is
    the share of images for which student and teacher find the same class most probable.

    `weights.npz` in the output directory holds the student as an official weight file. A run can be
    interrupted and continued like a run of `bit_keras.finetune`.

    Args:
        teacher: a network that gives one logit for each class; or a function that makes it, which
            is called in the strategy's scope; or the path of an ONNX file or of an exported
            SavedModel, which runs on the CPU while batches are prepared, or whatever `find_model`
            takes. If it has `class_names`,
            they are matched with those of the task by name.
        student: a name from `list_models()` or "R14x0.5"; or a `ResNetV2` of your own.
        task: a name for `bit_keras.task`, or a task, with one label for each image; or
            "pictures:FOLDER", images without labels.
        output_dir: the directory in which the run's files are kept.
        pretrained: the initial weights of a named student, as for its constructor, with a new head;
            False means random weights, as in the paper.
        temperature: the logits of both networks are divided by it; above 0.
        teacher_output: what the student learns of the teacher: "logits"; "features", the input of
            the teacher's head; or "both". Features are learned through a dense layer on the
            student's features, which is not part of the student.
        teacher_size: side in pixels to which the images of the student are resized for the
            teacher; None keeps their size.
        teacher_mean, teacher_std: the teacher takes `(pixel - mean) / std` for pixels from 0 to
            255; one number, or three for red, green and blue. A file needs them; None, for a Keras
            model, means images from -1 to 1.
        budget: arguments of `Recipe.rule`: epochs, steps, batch_size, base_lr, warmup_steps,
            weight_decay, crop, schedule, mixup_alpha.
        eval_every: number of steps between evaluations on held-out training examples, with one
            more after the last step; None holds out no examples.
        held_out: fraction of the training examples that `eval_every` holds out.
        seed: the seed of the weights, the held-out examples, the order of the images, the crops,
            the flips and mixup.
        strategy, batch_split, remat, dtype, save_every, keep: as for `bit_keras.finetune`; dtype
            is the student's.
        overwrite: if True, start anew in a directory that holds a run.
        verbose: if True, print messages and show a progress bar.

    Returns:
        A `Result` with the student; `result.metrics["test_accuracy"]` is over the whole test split,
        and `["test_loss"]` is the divergence there.

    Raises:
        ValueError: the model or task is unknown, a network does not fit the task, or `output_dir`
            holds another run.
        ImportError: the teacher is an ONNX file, and onnxruntime is not installed.
        OSError: data or weights are not on this machine, `output_dir` cannot be written, or another
            process trains in it.
        FloatingPointError: the training diverged; the last good state is kept.
    """
    options = RunOptions(
        seed=seed,
        eval_every=eval_every,
        held_out=held_out,
        strategy=strategy,
        batch_split=batch_split,
        remat=remat,
        dtype=dtype,
        save_every=save_every,
        keep=keep,
        overwrite=overwrite,
        verbose=verbose,
    )
    view = TeacherView(teacher_output, teacher_size, teacher_mean, teacher_std)
    entries = check_arguments(
        student,
        output_dir=output_dir,
        pretrained=pretrained,
        temperature=temperature,
        teacher=teacher,
        view=view,
        budget=budget,
        options=options,
    )
    chosen = choose_strategy(student, options.strategy)
    task = as_task(task, pretraining_task)
    labelled = task.num_classes > 0
    if labelled:
        task = with_classes_of(student, task)
    if labelled and task.several_labels:
        raise ValueError(
            f"{task.name} has several labels an image, but the softmax of a teacher stands for one "
            "label. Choose a task with one label an image, or images without labels "
            "('pictures:FOLDER')."
        )
    task, validation = hold_out(task, options, first_of_stream=True)
    rule = RECIPES[entries["recipe"]].rule(task.num_examples, **entries["budget"])
    taught_by = _load_teacher(teacher, view, rule.crop, chosen)
    task, places = _fit_classes(taught_by, task, rule.crop)
    # The teacher is made before `build_network` sets the random seed, because making the teacher
    # may use random numbers.
    network = build_network(student, task.num_classes, chosen, options, pretrained)
    check_classifier(network, task, rule.crop)
    with chosen.scope():
        distiller = Distiller(network, taught_by, temperature, places, labelled)
    save_memory(distiller, options.batch_split, None)
    save_memory(network, 1, options.remat)
    run = upstream_run(
        distiller,
        network,
        task,
        rule,
        held_out=validation,
        strategy=chosen,
        options=options,
        configuration=configuration(
            {**entries, "teacher": taught_by.name, "teacher_sha256": taught_by.sha256},
            network,
            task,
            options,
            rule,
        ),
        compile=functools.partial(_compile, distiller, rule),
        finish=distiller.with_teacher,
    )
    if FEATURES in taught_by.widths:
        prepare = functools.partial(_prepare_features, distiller, rule, taught_by, run.batches)
        run = dataclasses.replace(run, compile=prepare)
    return execute(run, Path(output_dir).expanduser())


def check_arguments(
    student: str | ResNetV2,
    *,
    output_dir: str | os.PathLike,
    pretrained: bool | str | os.PathLike,
    temperature: float,
    teacher: Any,
    view: TeacherView,
    budget: dict[str, float | str | None] | None,
    options: RunOptions,
) -> dict[str, Any]:
    """Checks the arguments of `distill` that can be checked before the task is read.

    The weights of a named student are downloaded if they are not on this machine.

    Returns:
        The entries of the run's configuration that are known before the task is read.

    Raises:
        ValueError, OSError, CheckpointError: as for `distill`.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature}; expected a number above 0, such as 1.")
    if view.output != LOGITS and options.remat is not None:
        raise ValueError(
            f"remat={options.remat!r} (--remat) works with teacher_output='logits' only, because "
            f"the features of the student are read from inside the network. Leave remat out, or "
            "train with batch_split (--batch_split)."
        )
    if is_exported(teacher):
        check_file(teacher, view)
    check_model(student)
    row, budget = _recipe(student), given(budget)
    row.check(budget)
    entries = entries_of(
        "distill",
        student,
        options,
        weights=_origin(student, pretrained, output_dir, options),
        **view.plain(),
        temperature=temperature,
        recipe=row.name,
        budget=budget,
    )
    run_directory.check_usable(output_dir, entries, options.overwrite)
    if isinstance(student, str):
        zoo.check_weights(student, pretrained)
    return entries


def _origin(
    student: str | ResNetV2,
    pretrained: bool | str | os.PathLike,
    output_dir: str | os.PathLike,
    options: RunOptions,
) -> str:
    """Returns the name of the student's initial weights for config.json.

    If an earlier version has begun the run, this is the name which that version wrote.
    """
    config = Path(output_dir).expanduser() / run_directory.CONFIG
    if config.exists() and not options.overwrite:
        earlier = RANDOM if pretrained is False else str(pretrained)
        if run_directory.read_json(config).get("weights") == earlier:
            return earlier
    return origin_of(student, pretrained)


def _recipe(student: str | ResNetV2) -> Recipe:
    return RECIPES[DISTILL if student in list_models() else SMALL_DISTILL]


def _load_teacher(
    given: keras.Model | str | os.PathLike | Callable[[], keras.Model],
    view: TeacherView,
    crop: int,
    strategy: tf.distribute.Strategy,
) -> Teacher:
    if is_exported(given):
        return teacher_of_file(given, view, crop)
    if isinstance(given, str | os.PathLike):
        given = find_model(given).load
    with strategy.scope():
        model = given if isinstance(given, keras.Model) else given()
    return teacher_of_model(model, view, crop)


def _fit_classes(teacher: Teacher, task: Task, crop: int) -> tuple[Task, np.ndarray | None]:
    """Returns the task, and the places of its classes among the teacher's, matched by name.

    The places are None if the names of the teacher's classes are not known, or are those of the
    task in the same order. If the teacher has more classes, the task has a note that says so. A
    task without labels gets the classes of the teacher, named by their numbers if need be.

    Raises:
        ValueError: the teacher does not take the rule's images, or lacks a class of the task.
    """
    names, logits = teacher.class_names, teacher.widths.get(LOGITS)
    if logits is None:
        note = (
            "Only features are learned: the head of the student is not trained, and its accuracy "
        )
        task = dataclasses.replace(task, note=f"{task.note} {note}says nothing.".strip())
    if not task.num_classes:
        names = names or tuple(map(str, range(logits or 1)))
        return dataclasses.replace(task, class_names=names), None
    if logits is None:
        return task, None
    if names is None or names == task.class_names:
        _check_logits(teacher, task, crop)
        return task, None
    places = places_of_classes(task, names, teacher.name)
    _check_logits(teacher, matched(task, names, teacher.name), crop)
    if len(names) > task.num_classes:
        note = (
            f"The teacher has {len(names)} classes; the student learns its probabilities among the "
            f"{task.num_classes} classes of {task.name}."
        )
        task = dataclasses.replace(task, note=f"{task.note} {note}".strip())
    return task, places


def _check_logits(teacher: Teacher, task: Task, crop: int) -> None:
    """Raises a ValueError unless the teacher gives one logit for each class of the task."""
    if teacher.model is not None:
        check_classifier(teacher.model, task, crop)
    if teacher.widths[LOGITS] != task.num_classes:
        raise ValueError(
            f"The teacher {teacher.name} gives {teacher.widths[LOGITS]} logits, but {task.name} "
            f"has {task.num_classes} classes. Choose a teacher of these classes, or images without "
            "labels ('pictures:FOLDER')."
        )


def _prepare_features(
    distiller: Distiller,
    rule: UpstreamRule,
    teacher: Teacher,
    batches: Callable[[int], tf.data.Dataset],
) -> None:
    """Standardizes the teacher's features on the first training images, and compiles."""
    found = []
    with naming_unreadable(lambda: batches(0)):
        for images, batch in batches(0):
            outputs = batch if teacher.in_pipeline else teacher.teach(images)
            found.append(outputs[FEATURES].numpy())
            if sum(map(len, found)) >= _STANDARDIZED_ON:
                break
    distiller.standardize_on(np.concatenate(found))
    _compile(distiller, rule)


def _compile(distiller: Distiller, rule: UpstreamRule) -> None:
    distiller.compile(
        optimizer=rule.build_optimizer(),
        metrics=[keras.metrics.MeanMetricWrapper(precision_at_one, name="accuracy")],
    )

"""Distillation by "A good teacher is patient and consistent" (arXiv 2106.05237)."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bit_keras.data.class_names import matched, places_of_classes
from bit_keras.data.tasks import Task, as_task, pretraining_task
from bit_keras.evaluation.metrics import precision_at_one
from bit_keras.evaluation.predictions import check_classifier
from bit_keras.models import zoo
from bit_keras.models.resnet import ResNetV2
from bit_keras.models.task_record import class_names_of
from bit_keras.models.variants import list_models
from bit_keras.runs import run_directory
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
    state_digest,
    with_classes_of,
)
from bit_keras.training.recipes import DISTILL, RECIPES, SMALL_DISTILL, Recipe, UpstreamRule
from bit_keras.training.run import Result, execute
from bit_keras.training.upstream import upstream_run


def distill(
    teacher: keras.Model | Callable[[], keras.Model],
    student: str | ResNetV2,
    task: str | Task,
    *,
    output_dir: str | os.PathLike,
    pretrained: bool | str | os.PathLike = False,
    temperature: float = 1.0,
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
    """Trains a student network to predict the same probabilities as a teacher (distillation).

    Both networks see the same crop of the same mixture of two images (Inception crop, flip, and
    mixup at every step, Beta(1, 1)). Named models are trained by Adam for the paper's 1200 epochs;
    R14x0.5 and networks of your own by SGD. Labels are used for the accuracy only.

    `weights.npz` in the output directory holds the student as an official weight file. A run can be
    interrupted and continued like a run of `bit_keras.finetune`.

    Args:
        teacher: a network that gives one logit for each class; or a function that makes it, which
            is called in the strategy's scope. If it has `class_names`, they are matched with those
            of the task by name.
        student: a name from `list_models()` or "R14x0.5"; or a `ResNetV2` of your own.
        task: a name for `bit_keras.task`, or a task, with one label for each image.
        output_dir: the directory in which the run's files are kept.
        pretrained: the initial weights of a named student, as for its constructor, with a new head;
            False means random weights, as in the paper.
        temperature: the logits of both networks are divided by it; above 0.
        budget: arguments of `Recipe.rule`: epochs, steps, batch_size, base_lr, warmup_steps,
            weight_decay, crop, schedule.
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
    entries = check_arguments(
        student,
        output_dir=output_dir,
        pretrained=pretrained,
        temperature=temperature,
        budget=budget,
        options=options,
    )
    chosen = choose_strategy(student, options.strategy)
    task = with_classes_of(student, as_task(task, pretraining_task))
    if task.several_labels:
        raise ValueError(
            f"{task.name} has several labels an image, but the softmax of a teacher stands for one "
            "label. Choose a task with one label an image."
        )
    task, validation = hold_out(task, options, first_of_stream=True)
    rule = RECIPES[entries["recipe"]].rule(task.num_examples, **entries["budget"])
    if not isinstance(teacher, keras.Model):
        with chosen.scope():
            teacher = teacher()
    # The teacher is made before `build_network` sets the random seed, because making the teacher
    # may use random numbers.
    network = build_network(student, task.num_classes, chosen, options, pretrained)
    check_classifier(network, task, rule.crop)
    task, places = _fit_teacher(teacher, task, rule.crop)
    with chosen.scope():
        distiller = Distiller(network, teacher, temperature, places)
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
            {**entries, "teacher": teacher.name, "teacher_sha256": state_digest(teacher)},
            network,
            task,
            options,
            rule,
        ),
        compile=functools.partial(_compile, distiller, rule),
    )
    return execute(run, Path(output_dir).expanduser())


def check_arguments(
    student: str | ResNetV2,
    *,
    output_dir: str | os.PathLike,
    pretrained: bool | str | os.PathLike,
    temperature: float,
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
    check_model(student)
    row, budget = _recipe(student), given(budget)
    row.check(budget)
    entries = entries_of(
        "distill",
        student,
        options,
        weights=_origin(student, pretrained, output_dir, options),
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


def _fit_teacher(teacher: keras.Model, task: Task, crop: int) -> tuple[Task, np.ndarray | None]:
    """Returns the task, and for each of its classes the index of the teacher's class of that name.

    The places are None if the names of the teacher's classes are not known, or are those of the
    task in the same order. If the teacher has more classes, the task has a note that says so.

    Raises:
        ValueError: the teacher does not take the rule's images, or lacks a class of the task.
    """
    names = class_names_of(teacher)
    if names is None or names == task.class_names:
        check_classifier(teacher, task, crop)
        return task, None
    places = places_of_classes(task, names, teacher.name)
    check_classifier(teacher, matched(task, names, teacher.name), crop)
    if len(names) > task.num_classes:
        note = (
            f"The teacher has {len(names)} classes; the student learns its probabilities among the "
            f"{task.num_classes} classes of {task.name}."
        )
        task = dataclasses.replace(task, note=f"{task.note} {note}".strip())
    return task, places


def _compile(distiller: Distiller, rule: UpstreamRule) -> None:
    distiller.compile(
        optimizer=rule.build_optimizer(),
        metrics=[keras.metrics.MeanMetricWrapper(precision_at_one, name="accuracy")],
    )

"""Pre-training, the upstream part of Big Transfer: from random weights to a weight file (npz)."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import keras

from bit_keras.data import keras_cv_augmentation as augmentations
from bit_keras.data import subsets
from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task, as_task, pretraining_task
from bit_keras.evaluation.metrics import precision_at_one
from bit_keras.evaluation.predictions import check_classifier
from bit_keras.models.resnet import ResNetV2
from bit_keras.runs import run_directory
from bit_keras.training.options import HELD_OUT, KEEP, RunOptions
from bit_keras.training.preparation import (
    build_network,
    check_model,
    choose_strategy,
    configuration,
    entries_of,
    given,
    hold_out,
    save_memory,
    with_classes_of,
)
from bit_keras.training.recipes import RECIPES, SIGMOID, SMALL, SOFTMAX, Recipe, UpstreamRule
from bit_keras.training.run import Result, execute
from bit_keras.training.upstream import upstream_run
from bit_keras.utils.nearest_name import unknown_name


def pretrain(
    model: str | ResNetV2,
    task: str | Task,
    recipe: str | None = None,
    *,
    output_dir: str | os.PathLike,
    budget: dict[str, float | str | None] | None = None,
    augmentation: str | None = None,
    ema: float | None = None,
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
    """Trains a network from random weights by a recipe of Big Transfer (arXiv 1912.11370, 3.1).

    The optimizer is SGD with momentum and coupled weight decay on kernels (`bit_keras.DecayedSGD`).
    The loss is softmax cross-entropy or, for several labels an image, sigmoid cross-entropy summed
    over classes. Training images get an Inception crop and a random horizontal flip. Test images
    are resized to the crop's size; a prediction counts as correct if the most probable class is one
    of the image's labels.

    `weights.npz` in the output directory is a weight file in the official format: `pretrained=` of
    a constructor, `pretrained=` of `finetune` and `--weights` take its path.

    A run can be interrupted and continued like a run of `bit_keras.finetune`.

    Args:
        model: a name from `list_models()` or "R14x0.5", a small network; or a `ResNetV2` of your
            own with one logit for each class.
        task: a name for `bit_keras.task`, "imagenet21k", "tfrecords:FOLDER" or "labels:FILE" (see
            `bit_keras.data.tasks.pretraining_task`), or a task.
        recipe: "BiT-S", "BiT-M", "BiT-L" or "small", from `bit_keras.training.recipes`; None means
            the recipe of the named model, or "small" for other models.
        output_dir: the directory in which the run's files are kept.
        budget: arguments of `Recipe.rule`: epochs, steps, batch_size, base_lr, warmup_steps,
            weight_decay, crop, loss, schedule.
        augmentation: as for `bit_keras.finetune`.
        ema: the momentum, such as 0.9999, of a running average of the weights, which replaces them
            at the end; None, as in the paper, keeps no average. `eval_every` scores the weights,
            not their average.
        eval_every: number of steps between evaluations on held-out training examples, with one
            more after the last step; None holds out no examples.
        held_out: fraction of the training examples that `eval_every` holds out.
        seed: the seed of the weights, the held-out examples, the order of the images, the crops
            and the flips.
        strategy, batch_split, remat, dtype, save_every, keep: as for `bit_keras.finetune`.
        overwrite: if True, start anew in a directory that holds a run.
        verbose: if True, print messages and show a progress bar.

    Returns:
        A `Result`; `result.metrics["test_accuracy"]` is over the whole test split.

    Raises:
        ValueError: the model, recipe or task is unknown, a number is out of range, the data cannot
            be used, or `output_dir` holds another run.
        OSError: the data are missing, `output_dir` cannot be written, or another process trains
            in it.
        ImportError: `augmentation` was given, and keras-cv is missing or broken.
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
        model,
        recipe,
        output_dir=output_dir,
        budget=budget,
        augmentation=augmentation,
        ema=ema,
        options=options,
    )
    chosen = choose_strategy(model, options.strategy)
    task = with_classes_of(model, as_task(task, pretraining_task))
    if not task.num_classes:
        raise ValueError(
            f"The images of {task.name} have no labels. Choose a task with labels, or distill a "
            "teacher into the network (bit_keras.distill, bit-keras distill)."
        )
    task, validation = hold_out(task, options, first_of_stream=True)
    rule = RECIPES[entries["recipe"]].rule(task.num_examples, **entries["budget"])
    if rule.loss == SOFTMAX and task.several_labels:
        task, validation = _of_one_label(task, validation)
    network = build_network(model, task.num_classes, chosen, options)
    check_classifier(network, task, rule.crop)
    save_memory(network, options.batch_split, options.remat)
    run = upstream_run(
        network,
        network,
        task,
        rule,
        held_out=validation,
        strategy=chosen,
        options=options,
        configuration=configuration(entries, network, task, options, rule),
        compile=functools.partial(_compile, network, rule, ema),
        augmentation=augmentations.arguments(entries["augmentation"], task),
    )
    return execute(run, Path(output_dir).expanduser())


def check_arguments(
    model: str | ResNetV2,
    recipe: str | None,
    *,
    output_dir: str | os.PathLike,
    budget: dict[str, float | str | None] | None,
    augmentation: str | None,
    ema: float | None,
    options: RunOptions,
) -> dict[str, Any]:
    """Checks the arguments of `pretrain` that can be checked before the task is read.

    Returns:
        The entries of the run's configuration that are known before the task is read.

    Raises:
        ValueError, OSError, ImportError: as for `pretrain`.
    """
    if ema is not None and not 0 < ema < 1:
        raise ValueError(f"ema={ema}; expected a momentum above 0 and below 1, such as 0.9999.")
    check_model(model)
    row, budget = _recipe(recipe, model), given(budget)
    row.check(budget)
    entries = entries_of(
        "pretrain",
        model,
        options,
        recipe=row.name,
        augmentation=augmentations.checked(augmentation),
        ema=ema,
        budget=budget,
    )
    run_directory.check_usable(output_dir, entries, options.overwrite)
    return entries


def _recipe(name: str | None, model: str | ResNetV2) -> Recipe:
    known = [row.name for row in RECIPES.values() if row.loss in (SOFTMAX, SIGMOID)]
    if name is None:
        # A model's recipe is named after its family: the recipe of BiT-M-R50x1 is BiT-M.
        family = model.rpartition("-")[0] if isinstance(model, str) else SMALL
        return RECIPES.get(family, RECIPES[SMALL])
    if name not in known:
        raise unknown_name("recipe", name, known)
    return RECIPES[name]


def _of_one_label(task: Task, validation: Examples | None) -> tuple[Task, Examples | None]:
    train, test = (subsets.one_label_each(task, part) for part in (task.train, task.test))
    if validation is not None:
        validation = subsets.one_label_each(task, validation)
    return dataclasses.replace(task, train=train, test=test, several_labels=False), validation


def _compile(network: ResNetV2, rule: UpstreamRule, ema: float | None) -> None:
    losses = {
        SOFTMAX: (keras.losses.CategoricalCrossentropy(from_logits=True), 1.0),
        # Keras' BinaryCrossentropy is a mean over classes. The loss weight, which is the number of
        # classes, turns the mean into the sum.
        SIGMOID: (keras.losses.BinaryCrossentropy(from_logits=True), float(network.classes)),
    }
    loss, weight = losses[rule.loss]
    network.compile(
        optimizer=rule.build_optimizer(ema),
        loss=loss,
        loss_weights=[weight],
        metrics=[keras.metrics.MeanMetricWrapper(precision_at_one, name="accuracy")],
    )

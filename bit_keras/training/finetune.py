"""Fine-tuning of a network on a task, with hyper-parameters from the BiT-HyperRule."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bit_keras.data import keras_cv_augmentation as augmentations
from bit_keras.data import pipeline, subsets
from bit_keras.data.corrupt_images import naming_unreadable
from bit_keras.data.tasks import Task, as_task
from bit_keras.evaluation.plots import plot_predictions
from bit_keras.evaluation.predictions import BATCH_SIZE, Predictions, check_classifier, predict
from bit_keras.hyperrule import HyperRule
from bit_keras.models import zoo
from bit_keras.runs import run_directory
from bit_keras.training.callbacks import Score
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
from bit_keras.training.recipes import FROM_SCRATCH
from bit_keras.training.run import Result, Run, Tested, execute
from bit_keras.utils.integers import check_integer


def finetune(
    model: str | keras.Model,
    task: str | Task,
    rule: HyperRule | None = None,
    *,
    output_dir: str | os.PathLike,
    pretrained: bool | str | os.PathLike = True,
    recipe: str = "paper",
    budget: dict[str, float | None] | None = None,
    augmentation: str | None = None,
    examples_per_class: int | None = None,
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
    """Fine-tunes a network on a task by the BiT-HyperRule and reports its test accuracy.

    All weights are trained by SGD with momentum on softmax cross-entropy, without weight decay
    (arXiv 1912.11370, section 3.3). The same arguments give the same numbers on the same machine.

    After Ctrl-C or SIGTERM, the run finishes the current step, saves its state and ends. The same
    call on the same directory then continues the run, also after a kill, and gives the numbers of a
    run without interruption; if the run is finished, its result is returned. A directory that holds
    a run of other arguments is refused; only `strategy`, `batch_split`, `remat`, `save_every` and
    `keep` may differ, because they leave the numbers the same.

    With several workers, make the same call on all of them, with one `output_dir` that they share.
    Only the first worker writes there. When a worker dies, the others end with a ConnectionError.

    Args:
        model: a name from `list_models()`, or "R14x0.5" (a small network with random weights);
            or your own network with one logit for each class. If it has `class_names`, the labels
            of the task are matched with them by name.
        task: a name for `bit_keras.task`, or a task.
        rule: the hyper-parameters; None means the BiT-HyperRule of the task and the model, or, for
            a named model with random weights, a recipe for training from scratch.
        output_dir: the directory in which the run's files are kept.
        pretrained: the weights of a named model, as for its constructor; the head is always new.
        recipe: the version of the BiT-HyperRule, "paper" or "official".
        budget: arguments of `HyperRule.scaled`, which is applied to the rule.
        augmentation: "rand_augment" (arXiv 1909.13719), which distorts each training image twice
            after its crop and flip; "cutmix" (arXiv 1905.04899), which at every step pastes a box
            of another image of the batch into each image, in place of the rule's mixup; or both,
            separated by a comma. Neither is in the paper of BiT. RandAugment uses keras-cv.
        examples_per_class: train on a balanced subset with this number of images of each class,
            chosen by seed.
        eval_every: number of steps between evaluations on held-out training examples, with one
            more after the last step; None holds out no examples, and the network is evaluated only
            at the end, on the test split. A task with a validation split is evaluated on it.
        held_out: fraction of the training examples that `eval_every` holds out, at random by
            seed, if the task has no validation split; `examples_per_class` chooses among the
            others, and the BiT-HyperRule counts only the examples that are trained on.
        seed: the seed of the subset, the held-out examples, the order of the images, the crops,
            flips and mixup, and the initial weights.
        strategy: a name for `bit_keras.strategy`; for a network of your own, the strategy in whose
            scope it was made.
        batch_split: number of slices of a batch that a step processes one after the other; more
            slices need less memory, and the gradient is the same.
        remat: "block" or "unit": in the backward pass, compute the activations inside each block
            or unit again, to save memory.
        dtype: a Keras dtype policy for a named model, such as "mixed_bfloat16".
        save_every: number of steps from one saved state to the next; None means a tenth of the run.
        keep: number of states to keep during training; at least 1.
        overwrite: if True, start anew in a directory that holds a run.
        verbose: if True, print messages and show a progress bar.

    Returns:
        A `Result`; `result.metrics["test_accuracy"]` is over the whole test split,
        `["validation_accuracy"]` over the held-out examples after the last step.

    Raises:
        ValueError: the model or task is unknown, the data cannot be used, the model does not fit
            the task, or `output_dir` holds another run.
        OSError: the weights are not on this machine, `output_dir` cannot be written, or another
            process trains in it.
        CheckpointError: the weights do not fit the model, or their file is damaged.
        ImportError: `augmentation` was given, and keras-cv is missing or broken.
        FloatingPointError: the training diverged; the last good state is kept.
    """
    # So far, the arguments are the only local names.
    run = prepare(**locals())
    return execute(run, Path(output_dir).expanduser())


@dataclasses.dataclass(frozen=True)
class _Checked:
    """The arguments of `finetune` after the checks that do not need the task.

    Attributes:
        options: the options that all recipes share.
        entries: the entries of the run's configuration that are known before the task is read.
        pretrained: as for `bit_keras.create`; False for random weights.
    """

    options: RunOptions
    entries: dict[str, Any]
    pretrained: bool | str | os.PathLike


def check_arguments(
    model: str | keras.Model,
    rule: HyperRule | None = None,
    *,
    output_dir: str | os.PathLike | None = None,
    pretrained: bool | str | os.PathLike = True,
    recipe: str = "paper",
    budget: dict[str, float | None] | None = None,
    augmentation: str | None = None,
    examples_per_class: int | None = None,
    **options: Any,
) -> _Checked:
    """Checks the arguments of `finetune` that can be checked before the task is read.

    The weights of a named model are downloaded if they are not on this machine.

    Raises:
        ValueError, OSError, CheckpointError, ImportError: as for `finetune`.
    """
    options = RunOptions(**options)
    check_model(model)
    if examples_per_class is not None:
        examples_per_class = check_integer("examples_per_class", examples_per_class)
    origin = _origin(model, pretrained, recipe)
    budget = given(budget)
    _check_budget(rule, recipe, origin, budget)
    trained_by = "from scratch" if origin == RANDOM else recipe
    entries = entries_of(
        "finetune",
        model,
        options,
        weights=origin,
        examples_per_class=examples_per_class,
        recipe="given" if rule is not None else trained_by,
        budget=budget,
        augmentation=augmentations.checked(augmentation),
    )
    if output_dir is not None:
        run_directory.check_usable(output_dir, entries, options.overwrite)
    if isinstance(model, str) and origin != RANDOM:
        zoo.check_weights(model, pretrained)
    return _Checked(options, entries, origin != RANDOM and pretrained)


def _check_budget(rule: HyperRule | None, recipe: str, origin: str, budget: dict) -> None:
    """Raises a ValueError for an unknown recipe, steps, batch size or rate that no task allows."""
    of_recipe = HyperRule.for_task(1, (1, 1), recipe=recipe)
    if rule is None and origin != RANDOM:
        rule = of_recipe
        # The resize and crop of the BiT-HyperRule depend on the task. If the budget changes only
        # one of them, the pair can be checked only after the task has been read.
        if not {"resize", "crop"} <= budget.keys():
            budget = {name: v for name, v in budget.items() if name not in ("resize", "crop")}
    (rule or FROM_SCRATCH).scaled(**budget)


def prepare(
    model: str | keras.Model, task: str | Task, rule: HyperRule | None = None, **arguments: Any
) -> Run:
    """Checks the arguments of `finetune`, builds the network, and returns a `Run` to execute.

    Args:
        model, task, rule: as for `finetune`.
        **arguments: the other arguments of `finetune`. Without an `output_dir`, it is not checked
            whether the run may be written there.

    Raises:
        ValueError, OSError, CheckpointError, ImportError: as for `finetune`.
    """
    checked = check_arguments(model, rule, **arguments)
    options, entries = checked.options, checked.entries
    strategy = choose_strategy(model, options.strategy)
    task = with_classes_of(model, as_task(task))
    task, held_out = hold_out(task, options)
    if entries["examples_per_class"] is not None:
        task = subsets.few_shot(task, entries["examples_per_class"], options.seed)
    rule = planned_rule(task, rule, entries)
    augmenting = augmentations.arguments(entries["augmentation"], task)
    # CutMix is used instead of mixup, so mixup is switched off.
    if "mix" in augmenting:
        rule = dataclasses.replace(rule, mixup_alpha=0.0)
    network = build_network(
        model, task.num_classes, strategy, options, pretrained=checked.pretrained
    )
    check_classifier(network, task, rule.crop)
    save_memory(network, options.batch_split, options.remat)
    identity = configuration(entries, network, task, options, rule)
    return Run(
        network=network,
        trained=network,
        task=task,
        rule=rule,
        held_out=held_out,
        strategy=strategy,
        options=options,
        configuration=identity,
        announcement=_announcement(identity, rule),
        compile=functools.partial(_compile, network, rule),
        batches=functools.partial(pipeline.train_batches, task, rule, options.seed, **augmenting),
        scorer=functools.partial(_scorer, rule.crop),
        test=functools.partial(_test, network, task, rule.crop),
    )


def _origin(model: str | keras.Model, pretrained: bool | str | os.PathLike, recipe: str) -> str:
    """Returns the name of the initial weights; checks that the recipe is for such weights."""
    origin = origin_of(model, pretrained)
    if origin == RANDOM and recipe != "paper":
        raise ValueError(
            f"recipe={recipe!r} is a version of the BiT-HyperRule, which fine-tunes pretrained "
            "weights, but this run starts from random weights. Leave the recipe out, or give "
            "weights."
        )
    return origin


def planned_rule(task: Task, rule: HyperRule | None, entries: dict[str, Any]) -> HyperRule:
    """Returns the hyper-parameters of a run, after the budget has changed them.

    Args:
        task: the task, with only the training examples that are trained on.
        rule: as for `finetune`.
        entries: the entries of the run's configuration that are known before the task is read.

    Raises:
        ValueError: the budget does not fit the hyper-parameters of the task.
    """
    if rule is None and entries["weights"] == RANDOM:
        rule = FROM_SCRATCH
    if rule is None:
        rule = HyperRule.for_task(
            task.num_examples, task.image_size, entries["model"], entries["recipe"]
        )
    return rule.scaled(**entries["budget"])


def _compile(network: keras.Model, rule: HyperRule) -> None:
    network.compile(
        optimizer=rule.optimizer(),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def _scorer(crop: int, task: Task) -> Score:
    """Returns a function that computes a network's loss and accuracy on a task's test images."""
    batches = pipeline.test_batches(task, crop, BATCH_SIZE)
    images = batches.map(lambda images, _: images)

    @functools.cache
    def labels() -> np.ndarray:
        return subsets.read_labels(task.test)

    def score(network: keras.Model, callbacks: list) -> dict[str, float]:
        with naming_unreadable(lambda: batches):
            logits = network.predict(images, verbose=0, callbacks=callbacks)
        # If a signal such as Ctrl-C stopped `predict`, the logits of some images are missing. The
        # caller then ignores the returned score.
        metrics = Predictions(logits, labels()[: len(logits)]).metrics()
        return {"loss": metrics["test_loss"], "accuracy": metrics["test_accuracy"]}

    return score


def _test(network: keras.Model, task: Task, crop: int) -> Tested:
    predictions = predict(network, task, crop)
    picture = functools.partial(plot_predictions, predictions, task, crop)
    return Tested(predictions.metrics(), pictures={run_directory.PREDICTIONS: picture})


def _announcement(configuration: dict, rule: HyperRule) -> str:
    mixup = f", mixup {rule.mixup_alpha}" if rule.mixup_alpha else ""
    asked = configuration["augmentation"]
    augmentation = f", augmentation {asked}" if asked else ""
    lines = [
        f"{rule.steps} steps of {rule.batch_size} images at {rule.crop} pixels, "
        f"learning rate {rule.base_lr:g}{mixup}{augmentation}",
    ]
    if configuration["weights"] == RANDOM:
        lines.append(
            "It starts from random weights, with a recipe for training from scratch that is not "
            "the BiT-HyperRule: the rule fine-tunes pretrained weights."
        )
    return "\n".join(lines)

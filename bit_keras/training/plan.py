"""What a fine-tuning run will be: all that is checked before anything is written."""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import tensorflow as tf

from bit_keras import zoo
from bit_keras.data import augmentation as augmentations
from bit_keras.data import subsets
from bit_keras.data.tasks import Examples, Task
from bit_keras.data.tasks import task as task_of_name
from bit_keras.evaluation.accuracy import check_classifier
from bit_keras.hyperrule import HyperRule
from bit_keras.training import from_scratch, run_directory, setup, workers
from bit_keras.training.resume import KEEP

RANDOM = "random"  # the weights of a run from scratch


@dataclass(frozen=True, eq=False)
class Plan:
    """A fine-tuning run that is known to be possible; nothing of it is written.

    Attributes:
        network: with its initial weights.
        task: with the training examples that are trained on.
        rule: by which.
        held_out: examples to evaluate on while training; None: no such evaluation.
        strategy: in whose scope the network was made.
        configuration: what tells the run from others; plain data.
        augmentation: arguments of `pipeline.train_batches`, of `data.augmentation`.
    """

    network: keras.Model
    task: Task
    rule: HyperRule
    held_out: Examples | None
    strategy: tf.distribute.Strategy
    configuration: dict
    augmentation: dict[str, Callable] = field(default_factory=dict)


def plan(
    model: str | keras.Model,
    task: str | Task,
    rule: HyperRule | None = None,
    *,
    pretrained: bool | str | os.PathLike = True,
    recipe: str = "paper",
    budget: dict[str, float | None] | None = None,
    augmentation: str | None = None,
    examples_per_class: int | None = None,
    eval_every: int | None = None,
    held_out: float = setup.HELD_OUT,
    seed: int = 0,
    strategy: str = "auto",
    batch_split: int = 1,
    remat: str | None = None,
    dtype: str | None = None,
    save_every: int | None = None,
    keep: int = KEEP,
) -> Plan:
    """Returns the run that `finetune` makes of the same arguments, and raises what it raises."""
    seed = setup.check_seed(seed)
    setup.check_validation(eval_every, held_out)
    setup.check_at_least_one(save_every=save_every, keep=keep, batch_split=batch_split)
    # First of all: several workers meet before TensorFlow computes anything.
    chosen = setup.choose_strategy(model, strategy)
    setup.check_dtype(dtype)
    augmentation = augmentations.checked(augmentation)
    if isinstance(task, str):
        task = task_of_name(task)
    validation = None
    if eval_every is not None:
        task, validation = subsets.hold_out(task, held_out, seed)
    if examples_per_class is not None:
        task = subsets.few_shot(task, examples_per_class, seed)
    origin = _origin(model, pretrained, recipe)
    name = model if isinstance(model, str) else model.name
    hyperrule = HyperRule.for_task(task.num_examples, task.image_size, name, recipe)
    if rule is not None:
        recipe = "given"
    elif origin == RANDOM:
        recipe = "from scratch"
    rule = rule or (from_scratch.RECIPE if origin == RANDOM else hyperrule)
    budget = {name: value for name, value in (budget or {}).items() if value is not None}
    rule = rule.scaled(**budget)
    augmenting = augmentations.arguments(augmentation, task)
    if "mix" in augmenting:
        rule = dataclasses.replace(rule, mixup_alpha=0.0)
    keras.utils.set_random_seed(seed)
    with workers.naming_lost_workers(chosen), chosen.scope():
        network = _network(model, pretrained, task, dtype)
    check_classifier(network, task, rule)
    setup.save_memory(network, batch_split, remat)
    configuration = {
        "command": "finetune",
        "model": name,
        "weights": origin,
        "initial_state_sha256": setup.state_digest(network),
        "dtype": network.dtype_policy.name,
        **task.identity,
        "examples_per_class": examples_per_class,
        "eval_every": eval_every,
        "held_out": None if eval_every is None else held_out,
        "seed": seed,
        "recipe": recipe,
        "budget": run_directory.plain(budget),
        "augmentation": augmentation,
        "rule": run_directory.plain(dataclasses.asdict(rule)),
    }
    return Plan(network, task, rule, validation, chosen, configuration, augmenting)


def _origin(model, pretrained, recipe: str) -> str:
    """Where the weights come from, for the record."""
    if not isinstance(model, str):
        return "given"
    if model == from_scratch.SMALL and not isinstance(pretrained, bool):
        raise ValueError(
            f"{model} has no weights to load, but {str(pretrained)!r} was given. Name the network "
            "that they belong to as model (--model), such as BiT-M-R50x1."
        )
    if model != from_scratch.SMALL and pretrained is not False:
        return "upstream" if pretrained is True else str(pretrained)
    if recipe != "paper":
        raise ValueError(
            f"recipe={recipe!r} is one of the BiT-HyperRule, which fine-tunes pretrained weights; "
            "this run starts from random ones. Leave it out, or give weights."
        )
    return RANDOM


def _network(model, pretrained, task: Task, dtype: str | None) -> keras.Model:
    if not isinstance(model, str):
        return setup.with_dtype(model, dtype)
    if model == from_scratch.SMALL:
        return from_scratch.build_small(task.num_classes, dtype)
    return zoo.create(model, pretrained=pretrained, classes=task.num_classes, dtype=dtype)

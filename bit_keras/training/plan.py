"""What a fine-tuning run will be: all that is checked before anything is written."""

import dataclasses
import hashlib
import os
from dataclasses import dataclass

import keras
import numpy as np

from bit_keras import zoo
from bit_keras.data import subsets
from bit_keras.data.tasks import Examples, Task
from bit_keras.data.tasks import task as task_of_name
from bit_keras.evaluation.accuracy import check_classifier
from bit_keras.hyperrule import HyperRule
from bit_keras.training import from_scratch, run_directory

# The official code holds out 1 or 2 % of the training split.
HELD_OUT = 0.02

RANDOM = "random"  # the weights of a run from scratch


@dataclass(frozen=True, eq=False)
class Plan:
    """A fine-tuning run that is known to be possible; nothing of it is written.

    Attributes:
        network: with its initial weights.
        task: with the training examples that are trained on.
        rule: by which.
        held_out: examples to evaluate on while training; None: no such evaluation.
        configuration: what tells the run from others; plain data.
    """

    network: keras.Model
    task: Task
    rule: HyperRule
    held_out: Examples | None
    configuration: dict


def plan(
    model: str | keras.Model,
    task: str | Task,
    rule: HyperRule | None = None,
    *,
    pretrained: bool | str | os.PathLike = True,
    recipe: str = "paper",
    budget: dict[str, float | None] | None = None,
    examples_per_class: int | None = None,
    eval_every: int | None = None,
    held_out: float = HELD_OUT,
    seed: int = 0,
) -> Plan:
    """Returns the run that `finetune` makes of the same arguments, and raises what it raises."""
    _check_seed(seed)
    _check_validation(eval_every, held_out)
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
    keras.utils.set_random_seed(seed)
    network = _network(model, pretrained, task)
    check_classifier(network, task, rule)
    configuration = {
        "command": "finetune",
        "model": name,
        "weights": origin,
        "initial_state_sha256": state_digest(network),
        **task.identity,
        "examples_per_class": examples_per_class,
        "eval_every": eval_every,
        "held_out": None if eval_every is None else held_out,
        "seed": seed,
        "recipe": recipe,
        "budget": run_directory.plain(budget),
        "rule": run_directory.plain(dataclasses.asdict(rule)),
    }
    return Plan(network, task, rule, validation, configuration)


def state_digest(network: keras.Model) -> str:
    """Tells whether another call starts from the same weights, frozen in the same places."""
    digest = hashlib.sha256()
    for variable in network.variables:
        array = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))
        digest.update(f"{variable.name} {variable.trainable} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view("uint8").data)
    return digest.hexdigest()


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


def _network(model, pretrained, task: Task) -> keras.Model:
    if not isinstance(model, str):
        return model
    if model == from_scratch.SMALL:
        return from_scratch.build_small(task.num_classes)
    return zoo.create(model, pretrained=pretrained, classes=task.num_classes)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed}; expected an integer from 0 to {2**32 - 1}.")


def _check_validation(eval_every: int | None, held_out: float) -> None:
    if eval_every is not None and eval_every < 1:
        raise ValueError(f"eval_every={eval_every}; expected a number of steps of at least 1.")
    if not 0 < held_out < 1:
        raise ValueError(f"held_out={held_out}; expected a fraction above 0 and below 1.")
    if eval_every is None and held_out != HELD_OUT:
        raise ValueError(
            f"held_out={held_out} was given without eval_every: nothing is held out then. Give "
            "both, or neither."
        )

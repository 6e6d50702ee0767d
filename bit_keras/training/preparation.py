"""Prepares a run: chooses the devices, holds out examples and builds the network."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bit_keras.data import subsets
from bit_keras.data.class_names import matched_for_training
from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task
from bit_keras.distribution.strategy import strategy as strategy_of_name
from bit_keras.hyperrule import HyperRule
from bit_keras.models import zoo
from bit_keras.models.model import Model
from bit_keras.models.task_record import class_names_of
from bit_keras.models.variants import find_variant
from bit_keras.runs import run_directory
from bit_keras.training import workers
from bit_keras.training.options import HELD_OUT, RunOptions
from bit_keras.training.recipes import UpstreamRule

# The names in config.json of the initial weights of a network that is trained from scratch, and of
# a network that the caller has built.
RANDOM, GIVEN = "random", "given"


def check_model(model: str | keras.Model) -> None:
    """Raises an error unless the model is a name or a Keras model, and the backend is TensorFlow.

    Raises:
        TypeError: the model is neither a name nor a Keras model.
        ValueError: Keras has another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Training by a recipe needs Keras' TensorFlow backend, and the backend is "
            f"{keras.backend.backend()!r}. Set KERAS_BACKEND=tensorflow before keras is imported, "
            "or train with model.compile and model.fit, which work with every backend."
        )
    if not isinstance(model, str | keras.Model):
        raise TypeError(
            f"The model is a {type(model).__name__}; expected a name from "
            "bit_keras.list_models(), or a Keras model."
        )


def origin_of(model: str | keras.Model, pretrained: bool | str | os.PathLike) -> str:
    """Returns the name of the initial weights for config.json, such as "upstream" or "random".

    Args:
        model: a model's name, or the caller's network.
        pretrained: as for `bit_keras.create`. With True, a model without upstream weights starts
            from random weights.

    >>> origin_of("BiT-M-R50x1", True), origin_of("BiT-M-R50x1", "ilsvrc2012")
    ('upstream', 'ilsvrc2012')
    """
    if not isinstance(model, str):
        return GIVEN
    if not isinstance(pretrained, bool):
        return str(pretrained)
    return "upstream" if pretrained and find_variant(model).upstream is not None else RANDOM


def choose_strategy(model: str | keras.Model, name: str) -> tf.distribute.Strategy:
    """Returns the tf.distribute strategy of a name, or the strategy in which the network was made.

    A recipe calls this first, because several workers must connect before TensorFlow computes
    anything.

    Raises:
        TypeError, ValueError: as for `check_model`.
        ValueError: the network was made in another strategy than that of the name, or does not
            train correctly on several replicas.
    """
    check_model(model)
    if isinstance(model, str):
        return strategy_of_name(name)
    own = model.distribute_strategy
    if name != "auto" and strategy_of_name(name) is not own:
        raise ValueError(
            f"strategy={name!r} was asked for, but the network was made under "
            f"{type(own).__name__}. Make it in bit_keras.strategy({name!r}).scope()."
        )
    if own.num_replicas_in_sync > 1 and not isinstance(model, Model):
        raise ValueError(
            f"Model {model.name!r} is a {type(model).__name__} of Keras, which does not train "
            f"correctly on {own.num_replicas_in_sync} replicas. Build it as a bit_keras.Model."
        )
    return own


def with_classes_of(model: str | keras.Model, task: Task) -> Task:
    """Returns the task with its labels matched to the class names of the caller's network, if any.

    Raises:
        ValueError: the network was trained on other classes.
    """
    if isinstance(model, str):
        return task
    return matched_for_training(task, class_names_of(model), model.name)


def hold_out(
    task: Task, options: RunOptions, *, first_of_stream: bool = False
) -> tuple[Task, Examples | None]:
    """Returns the task without the held-out examples, and the held-out examples, if any.

    The validation split of the task, if it has one, is held out in place of training examples.

    Args:
        task: the task.
        options: how often to evaluate, and on what fraction of the training examples.
        first_of_stream: if True, a stream of examples may hold out its first ones.

    Raises:
        ValueError: a fraction to hold out was given for a task with a validation split.
    """
    if options.eval_every is None:
        return task, None
    if task.validation is not None:
        if options.held_out != HELD_OUT:
            raise ValueError(
                f"held_out={options.held_out} (--held_out) was given, but {task.name} has a "
                f"validation split of {task.validation.num_examples} images, which eval_every "
                "(--eval_every) evaluates on. Leave held_out out, or remove the validation split."
            )
        return task, task.validation
    return subsets.hold_out(task, options.held_out, options.seed, first_of_stream=first_of_stream)


def given(budget: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the entries of a budget (steps, batch size and so on) that are not None."""
    return {name: value for name, value in (budget or {}).items() if value is not None}


def build_network(
    model: str | keras.Model,
    classes: int,
    strategy: tf.distribute.Strategy,
    options: RunOptions,
    pretrained: Any = False,
) -> keras.Model:
    """Builds a network by name with a new head, or checks and returns the caller's own network.

    Args:
        model: a name for `bit_keras.create`, or the caller's network.
        classes: size of the head of a named network.
        strategy: a named network is built in its scope.
        options: the seed of the weights, and the dtype policy.
        pretrained: as for `bit_keras.create`.

    Raises:
        ValueError: the caller's network has another dtype policy than the options ask for, or it
            could not be saved after the training.
    """
    keras.utils.set_random_seed(options.seed)
    if isinstance(model, str):
        with workers.naming_lost_workers(strategy), strategy.scope():
            return zoo.create(model, pretrained=pretrained, classes=classes, dtype=options.dtype)
    if options.dtype not in (None, model.dtype_policy.name):
        raise ValueError(
            f"dtype={options.dtype!r} was asked for, but the network was built with "
            f"{model.dtype_policy.name!r}. Build it with dtype={options.dtype!r}."
        )
    try:
        # A network of bit_keras raises a ValueError here if it cannot be saved.
        model.get_config()
    except NotImplementedError as error:
        raise ValueError(
            f"Model {model.name!r} could not be saved after the training: Keras finds no "
            f"configuration of its class {type(model).__name__}. Define get_config and from_config "
            "in the class (https://keras.io/guides/serialization_and_saving)."
        ) from error
    return model


def save_memory(network: keras.Model, batch_split: int, remat: str | None) -> None:
    """Sets `batch_split` and rematerialization of a network; both save memory and nothing else."""
    if batch_split > 1:
        _check_can(network, "batch_split", batch_split)
        network.batch_split = batch_split
    if remat is not None:
        _check_can(network, "rematerialize", remat)
        network.rematerialize(remat)


def _check_can(network: keras.Model, name: str, asked: object) -> None:
    if not hasattr(network, name):
        raise ValueError(
            f"{name} {asked!r} was asked for, but a {type(network).__name__} does not support it. "
            "Build the network as a bit_keras.Model, or for rematerialization as a "
            "bit_keras.ResNetV2."
        )


def state_digest(network: keras.Model) -> str:
    """Returns a SHA-256 digest of a network's variables: names, values, and which are trainable.

    Two calls with equal digests start from the same weights.
    """
    digest = hashlib.sha256()
    for variable in network.variables:
        array = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))
        digest.update(f"{variable.name} {variable.trainable} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view("uint8").data)
    return digest.hexdigest()


def entries_of(
    command: str, model: str | keras.Model, options: RunOptions, **own: Any
) -> dict[str, Any]:
    """Returns the entries of a run's configuration that are known before its task is read.

    Args:
        command: the recipe.
        model: the model as the caller gave it.
        options: the shared options.
        **own: the recipe's own entries.
    """
    return {
        "command": command,
        "model": model if isinstance(model, str) else model.name,
        **own,
        **options.identity(),
    }


def configuration(
    entries: dict[str, Any],
    network: keras.Model,
    task: Task,
    options: RunOptions,
    rule: HyperRule | UpstreamRule,
) -> dict[str, Any]:
    """Returns the configuration of a run as data for JSON.

    Args:
        entries: what `entries_of` returned.
        network: the network with its initial weights.
        task: the task.
        options: the shared options.
        rule: the hyper-parameters.
    """
    # A task with a validation split is evaluated on this split. No training example is held out, so
    # the fraction `held_out` is recorded as None.
    holds_out = options.eval_every is not None and task.validation is None
    return {
        **run_directory.plain(entries),
        "initial_state_sha256": state_digest(network),
        "dtype": network.dtype_policy.name,
        **task.identity,
        **task.chosen,
        "held_out": options.held_out if holds_out else None,
        "rule": run_directory.plain(dataclasses.asdict(rule)),
    }

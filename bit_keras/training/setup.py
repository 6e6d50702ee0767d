"""What all trainings check and choose alike, before anything is written."""

import hashlib

import keras
import numpy as np
import tensorflow as tf

from bit_keras.distributed_model import Model
from bit_keras.network_inputs import is_integer, is_positive_integer
from bit_keras.training.strategy import strategy as strategy_of_name

# The official code holds out 1 or 2 % of the training split.
HELD_OUT = 0.02


def check_seed(seed: int) -> int:
    """Returns the seed as Python's integer; raises a ValueError unless generators take it."""
    if not is_integer(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r}; expected an integer from 0 to {2**32 - 1}.")
    return int(seed)


def check_at_least_one(**numbers: int | None) -> None:
    """Raises a ValueError that names what is no integer of at least 1; None is left out."""
    for name, number in numbers.items():
        if number is not None and not is_positive_integer(number):
            raise ValueError(f"{name}={number!r}; expected an integer of at least 1.")


def check_validation(eval_every: int | None, held_out: float) -> None:
    """Raises a ValueError unless these tell when and on what to evaluate, or nothing."""
    if eval_every is not None and not is_positive_integer(eval_every):
        raise ValueError(f"eval_every={eval_every!r}; expected a number of steps of at least 1.")
    if not 0 < held_out < 1:
        raise ValueError(f"held_out={held_out}; expected a fraction above 0 and below 1.")
    if eval_every is None and held_out != HELD_OUT:
        raise ValueError(
            f"held_out={held_out} was given without eval_every: nothing is held out then. Give "
            "both, or neither."
        )


def check_dtype(dtype: str | None) -> None:
    """Raises a ValueError unless Keras knows the dtype policy."""
    if dtype is None:
        return
    try:
        keras.dtype_policies.get(dtype)
    except ValueError as error:
        raise ValueError(
            f"dtype={dtype!r} is no dtype policy of Keras; expected such as 'float32', "
            "'mixed_bfloat16' or 'mixed_float16'."
        ) from error


def choose_strategy(model, name: str) -> tf.distribute.Strategy:
    """Returns the strategy of a name, or that under which the caller's own network was made.

    Raises:
        ValueError: the two differ, or the network is not right under several replicas.
    """
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
            f"Model {model.name!r} is a {type(model).__name__} of Keras, which is not right under "
            f"{own.num_replicas_in_sync} replicas. Build it as a bit_keras.Model."
        )
    return own


def save_memory(network: keras.Model, batch_split: int, remat: str | None) -> None:
    """Has a network train in less memory; the numbers are the same."""
    if batch_split > 1:
        _check_can(network, "batch_split", batch_split)
        network.batch_split = batch_split
    if remat is not None:
        _check_can(network, "rematerialize", remat)
        network.rematerialize(remat)


def state_digest(network: keras.Model) -> str:
    """Tells whether another call starts from the same weights, frozen in the same places."""
    digest = hashlib.sha256()
    for variable in network.variables:
        array = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable))
        digest.update(f"{variable.name} {variable.trainable} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view("uint8").data)
    return digest.hexdigest()


def with_dtype(model: keras.Model, dtype: str | None) -> keras.Model:
    """Returns a network of the caller's own.

    Raises:
        ValueError: it was built with another dtype policy than asked for.
    """
    if dtype not in (None, model.dtype_policy.name):
        raise ValueError(
            f"dtype={dtype!r} was asked for, but the network was built with "
            f"{model.dtype_policy.name!r}. Build it with dtype={dtype!r}."
        )
    return model


def _check_can(network: keras.Model, name: str, asked: object) -> None:
    if not hasattr(network, name):
        raise ValueError(
            f"{name} {asked!r} was asked for, which a {type(network).__name__} cannot. Build the "
            "network as a bit_keras.Model, or for rematerialization a bit_keras.ResNetV2."
        )

"""What several runs in one process need: the same start for each, and memory given back."""

import gc
from collections.abc import Callable

import keras


def fresh_start(model: str | keras.Model) -> Callable[[], str | keras.Model]:
    """Returns a function that gives the model as it was at first, for the next run.

    A name is given back each time. A network is the same object each time, with the weights and
    the states of its random generators that it had when `fresh_start` was called: a run leaves
    it trained. The copy of them is held in memory.

    Args:
        model: a name from `list_models()`, or a network.
    """
    if isinstance(model, str):
        return lambda: model
    initial = [keras.ops.convert_to_numpy(variable.value) for variable in model.variables]

    def restore() -> keras.Model:
        for variable, value in zip(model.variables, initial, strict=True):
            variable.assign(value)
        return model

    return restore


def release() -> None:
    """Frees what an ended run has left in memory and nothing refers to any more."""
    gc.collect()

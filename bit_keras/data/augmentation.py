"""The augmentations that a training can be asked for by name, all of them through keras-cv."""

from __future__ import annotations

from collections.abc import Callable

from bit_keras.data import keras_cv_layers, pipeline
from bit_keras.data.cutmix import cutmix
from bit_keras.data.rand_augment import rand_augment
from bit_keras.data.tasks import Task
from bit_keras.nearest_name import nearest_name

# Name: the argument of `pipeline.train_batches` that it is, and how it is made for a task.
_TABLE: dict[str, tuple[str, Callable[[Task], pipeline.View | pipeline.Mix]]] = {
    # Where a crop would change the label, as where it is a position, so would a shift.
    "rand_augment": ("distort", lambda task: rand_augment(geometric=task.random_crop)),
    "cutmix": ("mix", lambda task: cutmix()),
}


def checked(names: str | None) -> str | None:
    """Returns the names in the table's order, each once; None is no augmentation.

    Args:
        names: "rand_augment", "cutmix", or both with a comma between.

    Raises:
        ValueError: an unknown name.
        ImportError: keras-cv is missing or broken.

    >>> checked("cutmix, rand_augment")
    'rand_augment,cutmix'
    """
    if names is None:
        return None
    asked = [name.strip() for name in names.split(",")]
    for name in asked:
        if name not in _TABLE:
            raise ValueError(
                f"Unknown augmentation {name!r}; the nearest is {nearest_name(name, _TABLE)!r}. "
                f"Expected {' or '.join(map(repr, _TABLE))}, or both with a comma between."
            )
    keras_cv_layers.check_importable()
    return ",".join(name for name in _TABLE if name in asked)


def arguments(names: str | None, task: Task) -> dict[str, pipeline.View | pipeline.Mix]:
    """Returns the arguments of `pipeline.train_batches` that `checked` names ask for.

    Raises:
        ImportError: keras-cv is missing or broken.
    """
    rows = [_TABLE[name] for name in names.split(",")] if names else []
    return {argument: make(task) for argument, make in rows}

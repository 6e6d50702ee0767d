"""The options that fine-tuning, pre-training and distillation share: one table with its checks.

The command line makes its flags from the fields of `RunOptions`, so this file imports no Keras.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from bit_keras.utils.integers import check_integer

# The default fraction of the training split to hold out; the official code of Big Transfer holds
# out 1 or 2 %.
HELD_OUT = 0.02

# By default, two saved training states are kept: the newest, and the one before it in case the
# newest file is damaged.
KEEP = 2


def _option(default: Any, text: str, check: Callable[[str, Any], Any] | None = None) -> Any:
    """Creates a dataclass field for an option, with its default, help text and check.

    Args:
        default: the option's default.
        text: the help of the option's flag.
        check: takes the option's name and a value that is not None; returns the value or raises a
            ValueError.
    """
    return field(default=default, metadata={"help": text, "check": check})


def _seed(name: str, value: int) -> int:
    return check_integer(name, value, least=0, bits=32)


def _fraction(name: str, value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"{name}={value}; expected a fraction above 0 and below 1.")
    return value


def _remat(name: str, value: str) -> str:
    if value not in ("block", "unit"):
        raise ValueError(f"{name}={value!r}; expected 'block' or 'unit'.")
    return value


def _dtype_policy(name: str, value: str) -> str:
    # Keras is imported here, because its import takes seconds and `--help` must be quick.
    import keras

    try:
        keras.dtype_policies.get(value)
    except ValueError as error:
        raise ValueError(
            f"{name}={value!r} is not a dtype policy of Keras; expected, for example, 'float32', "
            "'mixed_bfloat16' or 'mixed_float16'."
        ) from error
    return value


@dataclass(frozen=True)
class RunOptions:
    """The options that fine-tuning, pre-training and distillation share.

    Raises:
        ValueError: an option is out of range; the message names it.
    """

    seed: int = _option(0, "seed of all random numbers; the same seed gives the same result", _seed)
    eval_every: int | None = _option(
        None,
        "number of steps between evaluations on the validation split, if the task has one, or else "
        "on held-out training images; by default there is no such evaluation",
        check_integer,
    )
    held_out: float = _option(
        HELD_OUT, "fraction of the training images that --eval_every holds out", _fraction
    )
    strategy: str = _option(
        "auto",
        "the devices that train together: 'one'; 'mirrored', all GPUs of this machine; "
        "'multi_worker', the machines that TF_CONFIG names; 'tpu' or 'tpu=ADDRESS'; 'auto' uses "
        "all devices that are found",
    )
    batch_split: int = _option(
        1,
        "number of slices of a batch that are processed one after the other; more slices need "
        "less memory, and the gradient is the same",
        check_integer,
    )
    remat: str | None = _option(
        None,
        "'block' or 'unit': in the backward pass, compute the activations inside each block or "
        "unit again, which saves memory and takes more time",
        _remat,
    )
    dtype: str | None = _option(
        None,
        "a Keras dtype policy, such as mixed_bfloat16 or mixed_float16 on accelerators; by "
        "default float32",
        _dtype_policy,
    )
    save_every: int | None = _option(
        None,
        "number of steps from one saved state to the next; by default a tenth of the run",
        check_integer,
    )
    keep: int = _option(KEEP, "number of saved states to keep during training", check_integer)
    overwrite: bool = _option(False, "start anew in a directory that holds a run")
    # `verbose` has no help text, so the command line has no flag for it.
    verbose: bool = True

    def __post_init__(self) -> None:
        for option in fields(self):
            value, check = getattr(self, option.name), option.metadata.get("check")
            # An option whose default is None is not checked if it was not given.
            if check is not None and not (value is None and option.default is None):
                # `check` turns an integer of numpy into a Python int, which JSON can store.
                object.__setattr__(self, option.name, check(option.name, value))
        if self.eval_every is None and self.held_out != HELD_OUT:
            raise ValueError(
                f"held_out={self.held_out} was given without eval_every, but no examples are held "
                "out without it. Give both, or neither."
            )

    def identity(self) -> dict:
        """Returns the options that change the results of a run of any task, for config.json."""
        return {"eval_every": self.eval_every, "seed": self.seed}

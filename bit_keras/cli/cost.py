"""`bit-keras cost`: prints the memory, multiply-adds and time that a training needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from absl import flags

from bit_keras.cli.flags import (
    NUMBER,
    SWITCH,
    TASK_OPTION_FLAGS,
    TEXT,
    WHOLE,
    Command,
    given,
    task_of,
)
from bit_keras.models.variants import find_variant, list_models
from bit_keras.utils.text_table import TextTable

if TYPE_CHECKING:
    from bit_keras.costing.cost import Cost
    from bit_keras.data.tasks import Task

# The number of images that the models of each family were pre-trained on (arXiv 1912.11370, section
# 4.1).
_UPSTREAM_IMAGES = {"BiT-S": 1_281_167, "BiT-M": 14_197_122, "BiT-L": 300_000_000}

_GIB = 2**30

# A row of a printed table: a label, a function that reads a number from a `Cost`, and a function
# that formats the number. A row whose number is None is left out.
_Row = tuple[str, Callable[[Any], float | None], Callable[[Any], str]]


def _count_or_none(count: int) -> str:
    return f"{count:,}" if count else "none"


_COUNTS: tuple[_Row, ...] = (
    ("pixels", lambda cost: cost.resolution, "{}".format),
    ("images a step", lambda cost: cost.batch_size, "{:,}".format),
    ("parameters", lambda cost: cost.parameters, "{:,}".format),
    ("10^9 multiply-adds an image", lambda cost: cost.multiply_adds / 1e9, "{:,.2f}".format),
)

_TRAINING: tuple[_Row, ...] = (
    ("GiB, all kept", lambda cost: cost.peak_by_remat[None] / _GIB, "{:.2f}".format),
    ("GiB, remat=unit", lambda cost: cost.peak_by_remat["unit"] / _GIB, "{:.2f}".format),
    ("GiB, remat=block", lambda cost: cost.peak_by_remat["block"] / _GIB, "{:.2f}".format),
    ("largest batch that fits", lambda cost: cost.largest_batch, _count_or_none),
    ("steps", lambda cost: cost.steps, "{:,}".format),
    ("10^6 images", lambda cost: cost.images and cost.images / 1e6, "{:,.2f}".format),
    ("10^18 FLOP", lambda cost: cost.flops and cost.flops / 1e18, "{:,.4g}".format),
    ("hours", lambda cost: cost.hours, "{:,.2f}".format),
)

# fmt: off
_COST_FLAGS = (
    (WHOLE, "classes", None, "number of classes of the head; the default is the head that the "
     "model was pre-trained with"),
    (WHOLE, "resolution", None, "height and width of the training image, in pixels; the default "
     "is 224, or the resolution that --task or --pretrain asks for"),
    (WHOLE, "batch_size", None, "number of images in a step, over all devices; the default is 32, "
     "or the batch size that --task or --pretrain asks for"),
    (WHOLE, "steps", None, "number of steps of the whole training, for its images and its hours"),
    (TEXT, "dtype", None, "float32, mixed_bfloat16 or mixed_float16"),
    (TEXT, "remat", None, "'block' or 'unit': the activations inside each of these are computed "
     "again in the backward pass, to save memory"),
    (WHOLE, "batch_split", None, "number of slices in which a step goes through its batch"),
    (TEXT, "device", None, "the kind of device, such as A100, H100, RTX-4090 or TPU-v3-core, for "
     "its speed and its memory; the default is a CPU"),
    (WHOLE, "num_devices", None, "number of devices that share each batch"),
    (NUMBER, "efficiency", None, "the fraction of the device's peak speed that a training "
     "reaches; the default is 0.3"),
    (NUMBER, "memory_gib", None, "memory of one device in GiB, for the largest batch that fits; "
     "the default is the memory of --device"),
)
# fmt: on


def _run(values: flags.FlagValues) -> None:
    from bit_keras.costing.cost import cost

    if values.task and values.pretrain:
        raise ValueError("--task and --pretrain were both given: give one of them.")
    task = task_of(values) if values.task else None
    costs, plans, title = {}, {}, "A step of training"
    for name in [values.model] if values.model else list_models():
        plan = {}
        if task is not None:
            plan, title = _fine_tuning(name, task), f"The BiT-HyperRule on {task.name}"
        elif values.pretrain:
            plan, title = _pretraining(name), "The paper's pre-training"
        plans[name] = {**plan, **given(values, _COST_FLAGS)}
        costs[name] = cost(name, **plans[name])
    print_costs(costs, title)
    too_large = [name for name in costs if costs[name].largest_batch == 0]
    if too_large:
        print(_advice(too_large[0], plans[too_large[0]]))


def _advice(name: str, plan: dict[str, Any]) -> str:
    """Returns advice for a model that does not fit a device with even one image: flags that fit."""
    from bit_keras.costing.cost import DTYPES, REMAT, cost

    def largest(dtype: str, remat: str | None) -> int:
        # `cost` raises a ValueError for a dtype in which the device cannot compute.
        with contextlib.suppress(ValueError):
            return cost(name, **{**plan, "dtype": dtype, "remat": remat}).largest_batch
        return 0

    fitting = [
        f"--dtype={dtype}{f' --remat={remat}' if remat else ''} ({count:,} images)"
        for dtype in DTYPES
        for remat in REMAT
        if (count := largest(dtype, remat))
    ]
    choice = f"These fit: {', '.join(fitting)}" if fitting else "No dtype and no remat changes this"
    return (
        f"The largest batch is none: a device has not enough memory for a single image of {name}. "
        f"{choice}. Otherwise give a --device or a --memory_gib with more memory."
    )


def _fine_tuning(model: str, task: Task) -> dict[str, int]:
    from bit_keras.hyperrule import HyperRule

    rule = HyperRule.for_task(task.num_examples, task.image_size, model)
    return {
        "classes": task.num_classes,
        "resolution": rule.crop,
        "batch_size": rule.batch_size,
        "steps": rule.steps,
    }


def _pretraining(model: str) -> dict[str, int]:
    from bit_keras.training.recipes import RECIPES

    if find_variant(model).upstream is None:
        raise ValueError(
            f"--pretrain shows the paper's pre-training, but {model} is not in the paper. Choose "
            f"one of {', '.join(list_models())}, or leave --model out."
        )
    family = model.rpartition("-")[0]
    rule = RECIPES[family].rule(_UPSTREAM_IMAGES[family])
    return {"resolution": rule.crop, "batch_size": rule.batch_size, "steps": rule.steps}


def print_costs(costs: Mapping[str, Cost], title: str) -> None:
    """Prints the costs of several models as one table, or a single model's costs as a list.

    Args:
        costs: the cost of each model, by the model's name.
        title: the title of the table.
    """
    if len(costs) == 1:
        ((name, cost),) = costs.items()
        columns, right = (name, ""), ("",)
        cells = (
            (label, form(number(cost)))
            for label, number, form in (*_COUNTS, *_memory_rows(cost), *_TRAINING)
            if number(cost) is not None
        )
    else:
        rows = [
            row
            for row in (*_COUNTS, *_TRAINING)
            if any(row[1](cost) is not None for cost in costs.values())
        ]
        right = tuple(label for label, _, _ in rows)
        columns = ("model", *right)
        cells = (
            (name, *(form(number(cost)) for _, number, form in rows))
            for name, cost in costs.items()
        )
    TextTable(title, columns, tuple(cells), right).print()


def _memory_rows(cost: Cost) -> tuple[_Row, ...]:
    """Returns the row of the peak memory, and an indented row for each part of that memory."""
    return (
        ("GiB at the peak", lambda cost: cost.peak / _GIB, "{:.2f}".format),
        *(
            (
                f"  {item.name}",
                lambda cost, of=item.name: getattr(cost.memory, of) / _GIB,
                "{:.2f}".format,
            )
            for item in fields(cost.memory)
        ),
    )


COMMAND = Command(
    "Print what a training needs: multiply-adds, memory, hours.",
    (
        (TEXT, "model", None, "a model's name, such as BiT-M-R50x1; the default is all models"),
        (
            TEXT,
            "task",
            None,
            "the costs are those of fine-tuning on this task by the BiT-HyperRule: 'digits', "
            "'folder:PATH', cifar10, 'vtab/NAME', 'tfds:DATASET' or another task of finetune",
        ),
        (
            SWITCH,
            "pretrain",
            False,
            "the costs are those of the paper's pre-training, on the model's upstream data",
        ),
        *_COST_FLAGS,
        *TASK_OPTION_FLAGS,
    ),
    _run,
)

"""`bit-keras finetune`."""

import re
from pathlib import Path

from absl import flags

from bit_keras.commands.command import (
    BUDGET_FLAGS,
    MODEL_FLAGS,
    OVERWRITE_FLAG,
    RECIPE_FLAG,
    TASK_FLAG,
    TASK_OPTION_FLAGS,
    TEXT,
    WHOLE,
    Command,
    budget_of,
    pretrained_of,
    task_of,
)


def _run(values: flags.FlagValues) -> None:
    from bit_keras.training.finetune import finetune
    from bit_keras.training.from_scratch import SMALL

    model = values.model or SMALL
    finetune(
        model,
        task_of(values),
        pretrained=pretrained_of(values),
        recipe=values.recipe,
        budget=budget_of(values),
        output_dir=values.output_dir
        or Path("runs", re.sub(r"[^\w.-]+", "-", f"{model}-{values.task}")),
        examples_per_class=values.examples_per_class,
        seed=values.seed,
        overwrite=values.overwrite,
    )


COMMAND = Command(
    "Train a network on a task; without flags, a small one on embedded digits.",
    (
        *MODEL_FLAGS,
        *TASK_FLAG,
        (TEXT, "output_dir", None, "where the run is kept; without it runs/MODEL-TASK"),
        *RECIPE_FLAG,
        (WHOLE, "examples_per_class", None, "train on a balanced subset"),
        (WHOLE, "seed", 0, "the same seed gives the same numbers"),
        *BUDGET_FLAGS,
        *TASK_OPTION_FLAGS,
        *OVERWRITE_FLAG,
    ),
    _run,
)

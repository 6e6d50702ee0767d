"""`bit-keras finetune`."""

import re
from pathlib import Path

from absl import flags

from bit_keras.commands.command import (
    AUGMENTATION_FLAG,
    BUDGET_FLAGS,
    LIST,
    MODEL_FLAGS,
    NUMBER,
    OVERWRITE_FLAG,
    RECIPE_FLAG,
    SCALE_FLAGS,
    TASK_FLAG,
    TASK_OPTION_FLAGS,
    TEXT,
    WHOLE,
    Command,
    budget_of,
    pretrained_of,
    scale_of,
    task_of,
    whole_numbers,
)


def _run(values: flags.FlagValues) -> None:
    from bit_keras.studies.seeds import finetune_seeds
    from bit_keras.training.finetune import finetune
    from bit_keras.training.from_scratch import SMALL

    several = values.seeds is not None
    if several and values["seed"].present:
        raise ValueError("--seed and --seeds were both given: give one of them.")
    model = values.model or SMALL
    name = re.sub(r"[^\w.-]+", "-", f"{model}-{values.task}")
    arguments = {
        "output_dir": values.output_dir or Path("runs", f"{name}-seeds" if several else name),
        "pretrained": pretrained_of(values),
        "recipe": values.recipe,
        "budget": budget_of(values),
        "augmentation": values.augmentation,
        "examples_per_class": values.examples_per_class,
        "eval_every": values.eval_every,
        "held_out": values.held_out,
        "overwrite": values.overwrite,
        **scale_of(values),
    }
    if several:
        seeds = whole_numbers(values, "seeds")
        finetune_seeds(model, task_of(values), seeds=seeds, **arguments)
    else:
        finetune(model, task_of(values), seed=values.seed, **arguments)


COMMAND = Command(
    "Train a network on a task; without flags, a small one on embedded digits.",
    (
        *MODEL_FLAGS,
        *TASK_FLAG,
        (
            TEXT,
            "output_dir",
            None,
            "where the run is kept; without it runs/MODEL-TASK, or with --seeds "
            "runs/MODEL-TASK-seeds",
        ),
        *RECIPE_FLAG,
        (WHOLE, "examples_per_class", None, "train on a balanced subset"),
        (WHOLE, "seed", 0, "the same seed gives the same numbers"),
        (LIST, "seeds", None, "a run for each, such as 0,1,2, and their median"),
        (
            WHOLE,
            "eval_every",
            None,
            "evaluate after so many steps on training images that are held out; without it all "
            "are trained on",
        ),
        (NUMBER, "held_out", 0.02, "the fraction that --eval_every holds out"),
        *BUDGET_FLAGS,
        *AUGMENTATION_FLAG,
        *TASK_OPTION_FLAGS,
        *SCALE_FLAGS,
        *OVERWRITE_FLAG,
    ),
    _run,
)

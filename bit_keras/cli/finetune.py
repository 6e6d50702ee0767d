"""`bit-keras finetune`: fine-tunes a network on a task."""

import re
from pathlib import Path

from absl import flags

from bit_keras.cli.flags import (
    AUGMENTATION_FLAG,
    BUDGET_FLAGS,
    LIST,
    MODEL_FLAGS,
    RECIPE_FLAG,
    RUN_FLAGS,
    TASK_FLAG,
    TEXT,
    TRAINING_TASK_FLAGS,
    WHOLE,
    Command,
    budget_of,
    options_of,
    pretrained_of,
    task_of,
    whole_numbers,
)


def _run(values: flags.FlagValues) -> None:
    from bit_keras.experiments.seeds import finetune_seeds
    from bit_keras.models.variants import SMALL
    from bit_keras.training.finetune import check_arguments, finetune

    several = values.seeds is not None
    if several and values["seed"].present:
        raise ValueError("--seed and --seeds were both given. Give one of them.")
    model = values.model or SMALL
    name = re.sub(r"[^\w.-]+", "-", f"{model}-{values.task}")
    arguments = {
        "output_dir": values.output_dir or Path("runs", f"{name}-seeds" if several else name),
        "pretrained": pretrained_of(values),
        "recipe": values.recipe,
        "budget": budget_of(values),
        "augmentation": values.augmentation,
        "examples_per_class": values.examples_per_class,
        **options_of(values),
    }
    # Reading a task may take minutes, so all other arguments are checked first.
    if several:
        del arguments["seed"]
        seeds = whole_numbers(values, "seeds")
        check_arguments(model, **{**arguments, "output_dir": None})
        finetune_seeds(model, task_of(values), seeds=seeds, **arguments)
    else:
        check_arguments(model, **arguments)
        finetune(model, task_of(values), **arguments)


# fmt: off
COMMAND = Command(
    "Fine-tune a network on a task; without flags, train a small network on the embedded digits.",
    (
        *MODEL_FLAGS,
        *TASK_FLAG,
        (TEXT, "output_dir", None, "directory of the run; by default runs/MODEL-TASK, or with "
         "--seeds runs/MODEL-TASK-seeds"),
        *RECIPE_FLAG,
        (WHOLE, "examples_per_class", None, "number of training images of each class; by default "
         "all images"),
        (LIST, "seeds", None, "several seeds, such as 0,1,2: one run for each, and the median of "
         "their accuracies"),
        *BUDGET_FLAGS,
        *AUGMENTATION_FLAG,
        *TRAINING_TASK_FLAGS,
        *RUN_FLAGS,
    ),
    _run,
)
# fmt: on

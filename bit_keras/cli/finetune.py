"""`bit-keras finetune`: fine-tunes a network on a task."""

import functools

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
    default_directory,
    given,
    numbers,
    options_of,
    pretrained_of,
    task_of,
)
from bit_keras.models.variants import SMALL


def _run(values: flags.FlagValues) -> None:
    from bit_keras.experiments.seeds import finetune_seeds
    from bit_keras.training.finetune import finetune

    several = values.seeds is not None
    if several and values["seed"].present:
        raise ValueError("--seed and --seeds were both given. Give one of them.")
    model = values.model or SMALL
    words = [model, values.task, *(["seeds"] if several else [])]
    task = functools.partial(task_of, values)
    arguments = {
        "output_dir": values.output_dir or default_directory(*words),
        "pretrained": pretrained_of(values),
        "recipe": values.recipe,
        "budget": given(values, BUDGET_FLAGS),
        "augmentation": values.augmentation,
        "examples_per_class": values.examples_per_class,
        **options_of(values),
    }
    if several:
        del arguments["seed"]
        finetune_seeds(model, task, seeds=numbers(values, "seeds", int, "0,1,2"), **arguments)
    else:
        finetune(model, task, **arguments)


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

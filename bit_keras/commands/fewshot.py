"""`bit-keras fewshot`."""

import re
from pathlib import Path

from absl import flags

from bit_keras.commands.command import (
    BUDGET_FLAGS,
    LIST,
    MODEL_FLAGS,
    OVERWRITE_FLAG,
    RECIPE_FLAG,
    SWITCH,
    TASK_FLAG,
    TASK_OPTION_FLAGS,
    TEXT,
    Command,
    budget_of,
    pretrained_of,
    task_of,
    whole_numbers,
)


def _run(values: flags.FlagValues) -> None:
    from bit_keras.studies.fewshot import fewshot
    from bit_keras.training.from_scratch import SMALL

    model = values.model or SMALL
    kind = "fewshot-probe" if values.probe else "fewshot"
    fewshot(
        model,
        task_of(values),
        output_dir=values.output_dir
        or Path("runs", re.sub(r"[^\w.-]+", "-", f"{kind}-{model}-{values.task}")),
        shots=whole_numbers(values, "shots"),
        seeds=whole_numbers(values, "seeds"),
        probe=values.probe,
        pretrained=pretrained_of(values),
        recipe=values.recipe,
        budget=budget_of(values),
        overwrite=values.overwrite,
    )


COMMAND = Command(
    "The curve of accuracy over examples per class, by fine-tuning or a linear probe.",
    (
        *MODEL_FLAGS,
        *TASK_FLAG,
        (
            TEXT,
            "output_dir",
            None,
            "where it is kept; without it runs/fewshot-MODEL-TASK, or with "
            "--probe runs/fewshot-probe-MODEL-TASK",
        ),
        (LIST, "shots", "1,5,10,25,100", "training images of each class"),
        (
            LIST,
            "seeds",
            "0,1,2,3,4",
            "each chooses other images; the same seed gives the same numbers",
        ),
        (
            SWITCH,
            "probe",
            False,
            "fit a linear probe to the features of the frozen network, which "
            "sees each image once; of the budget it takes --crop",
        ),
        *RECIPE_FLAG,
        *BUDGET_FLAGS,
        *TASK_OPTION_FLAGS,
        *OVERWRITE_FLAG,
    ),
    _run,
)

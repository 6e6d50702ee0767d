"""`bit-keras fewshot`: measures the accuracy for several numbers of images per class."""

import functools

from absl import flags

from bit_keras.cli.flags import (
    BUDGET_FLAGS,
    LIST,
    MODEL_FLAGS,
    OVERWRITE_FLAG,
    RECIPE_FLAG,
    SWITCH,
    TASK_FLAG,
    TEXT,
    TRAINING_TASK_FLAGS,
    Command,
    default_directory,
    given,
    numbers,
    pretrained_of,
    task_of,
)
from bit_keras.models.variants import SMALL


def _run(values: flags.FlagValues) -> None:
    from bit_keras.experiments.fewshot import fewshot

    model = values.model or SMALL
    kind = "fewshot-probe" if values.probe else "fewshot"
    fewshot(
        model,
        functools.partial(task_of, values),
        output_dir=values.output_dir or default_directory(kind, model, values.task),
        shots=numbers(values, "shots", int, "0,1,2"),
        seeds=numbers(values, "seeds", int, "0,1,2"),
        probe=values.probe,
        pretrained=pretrained_of(values),
        recipe=values.recipe,
        budget=given(values, BUDGET_FLAGS),
        overwrite=values.overwrite,
    )


COMMAND = Command(
    "Measure accuracy over examples per class, by fine-tuning or by a linear probe.",
    (
        *MODEL_FLAGS,
        *TASK_FLAG,
        (
            TEXT,
            "output_dir",
            None,
            "directory of the study; by default runs/fewshot-MODEL-TASK, or with "
            "--probe runs/fewshot-probe-MODEL-TASK",
        ),
        (LIST, "shots", "1,5,10,25,100", "numbers of training images of each class"),
        (
            LIST,
            "seeds",
            "0,1,2,3,4",
            "seeds; each seed chooses other training images, and always the same ones",
        ),
        (
            SWITCH,
            "probe",
            False,
            "fit a linear probe to the features of the frozen network instead of fine-tuning; of "
            "the flags of the budget, only --crop can be given",
        ),
        *RECIPE_FLAG,
        *BUDGET_FLAGS,
        *TRAINING_TASK_FLAGS,
        *OVERWRITE_FLAG,
    ),
    _run,
)

"""`bit-keras vtab`: fine-tunes a network on the tasks of VTAB-1k, and reports the score."""

from absl import flags

from bit_keras.cli.flags import (
    BUDGET_FLAGS,
    LIST,
    MODEL_FLAGS,
    OVERWRITE_FLAG,
    RECIPE_FLAG,
    STORE_FLAGS,
    TEXT,
    Command,
    default_directory,
    given,
    numbers,
    pretrained_of,
)
from bit_keras.models.variants import SMALL


def _run(values: flags.FlagValues) -> int:
    from bit_keras.experiments.vtab import vtab

    model = values.model or SMALL
    metrics = vtab(
        model,
        output_dir=values.output_dir or default_directory(model, "vtab"),
        tasks=values.tasks,
        seeds=numbers(values, "seeds", int, "0,1,2"),
        pretrained=pretrained_of(values),
        recipe=values.recipe,
        budget=given(values, BUDGET_FLAGS),
        overwrite=values.overwrite,
        **given(values, STORE_FLAGS),
    )
    return 1 if metrics["failures"] else 0


COMMAND = Command(
    "Fine-tune on each of the 19 tasks of VTAB-1k, and report the score.",
    (
        *MODEL_FLAGS,
        (LIST, "tasks", None, "some of the 19 tasks, such as clevr-count,dmlab; by default all"),
        (LIST, "seeds", "0", "seeds, such as 0,1,2; each task is run once with each seed"),
        (TEXT, "output_dir", None, "directory of the study; by default runs/MODEL-vtab"),
        *RECIPE_FLAG,
        *BUDGET_FLAGS,
        *STORE_FLAGS,
        *OVERWRITE_FLAG,
    ),
    _run,
)

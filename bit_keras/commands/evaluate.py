"""`bit-keras evaluate`."""

from absl import flags

from bit_keras.commands.command import (
    OVERWRITE_FLAG,
    TASK_OPTION_FLAGS,
    TEXT,
    WHOLE,
    Command,
    given,
)


def _run(values: flags.FlagValues, model: str) -> None:
    from bit_keras.studies.evaluation_run import evaluate_saved

    evaluate_saved(
        model,
        values.task,
        weights=values.weights,
        crop=values.crop,
        task_options=given(values, TASK_OPTION_FLAGS),
        output_dir=values.output_dir,
        overwrite=values.overwrite,
    )


# fmt: off
COMMAND = Command(
    "Evaluate a model (a run's directory, a .keras file or a name of the zoo) on a test split.",
    (
        (TEXT, "task", None, "as for finetune; without it the task of the model's run"),
        (TEXT, "weights", None, "of a name of the zoo: a checkpoint, such as ilsvrc2012, or the "
         "path of an official npz file; without it the upstream weights"),
        (WHOLE, "crop", None, "another side, in pixels, of the resized test image; without it that "
         "of the training, where it is known, or else the BiT-HyperRule's"),
        (TEXT, "output_dir", None, "where the evaluation is kept; without it "
         "runs/evaluate-MODEL-TASK"),
        *TASK_OPTION_FLAGS,
        *OVERWRITE_FLAG,
    ),
    _run,
    ("MODEL",),
    required=1,
)
# fmt: on

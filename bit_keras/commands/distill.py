"""`bit-keras distill`."""

import re
from pathlib import Path

from absl import flags

from bit_keras.commands.command import (
    NUMBER,
    OVERWRITE_FLAG,
    SCALE_FLAGS,
    TASK_FLAG,
    TASK_OPTION_FLAGS,
    TEXT,
    Command,
    scale_of,
    task_of,
)
from bit_keras.commands.pretrain import EVALUATION_FLAGS, UPSTREAM_BUDGET_FLAGS


def _run(values: flags.FlagValues, teacher: str) -> None:
    from bit_keras.studies.model_source import find_model
    from bit_keras.training.distill import distill
    from bit_keras.training.from_scratch import SMALL

    source = find_model(teacher, values.teacher_weights)
    student = values.model or SMALL
    name = re.sub(r"[^\w.-]+", "-", f"distill-{student}-{values.task}")
    scale = scale_of(values)
    distill(
        source.load,
        student,
        task_of(values),
        output_dir=values.output_dir or Path("runs", name),
        pretrained=values.weights or False,
        temperature=values.temperature,
        budget={name: values[name].value for _, name, _, _ in UPSTREAM_BUDGET_FLAGS},
        eval_every=values.eval_every,
        held_out=values.held_out,
        seed=values.seed,
        overwrite=values.overwrite,
        **scale,
    )


# fmt: off
COMMAND = Command(
    "Train a small network, the student, to say what a large one, its teacher, says of images.",
    (
        (TEXT, "model", None, "the student: a model of the zoo; without it R14x0.5, a small "
         "network"),
        (TEXT, "weights", None, "the student's first weights: a checkpoint's name or the path of "
         "an official npz file; without it random"),
        (TEXT, "teacher_weights", None, "of a teacher of the zoo: a checkpoint, such as "
         "ilsvrc2012, or the path of an official npz file"),
        *TASK_FLAG,
        (TEXT, "output_dir", None, "where the run is kept; without it runs/distill-MODEL-TASK"),
        (NUMBER, "temperature", 1.0, "both networks' logits are divided by it"),
        *UPSTREAM_BUDGET_FLAGS,
        *EVALUATION_FLAGS,
        *TASK_OPTION_FLAGS,
        *SCALE_FLAGS,
        *OVERWRITE_FLAG,
    ),
    _run,
    ("TEACHER",),
    required=1,
)
# fmt: on

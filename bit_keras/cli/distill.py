"""`bit-keras distill`: trains a small network to predict the probabilities of a large one."""

import functools

from absl import flags

from bit_keras.cli.flags import (
    NUMBER,
    RUN_FLAGS,
    TASK_FLAG,
    TEXT,
    TRAINING_TASK_FLAGS,
    Command,
    default_directory,
    given,
    options_of,
    pretrained_of,
    task_of,
)
from bit_keras.cli.pretrain import UPSTREAM_BUDGET_FLAGS
from bit_keras.models.variants import SMALL


def _run(values: flags.FlagValues, teacher: str) -> None:
    from bit_keras.runs.trained_model import find_model

    # A wrong name of a teacher is refused here, before the import of TensorFlow below takes
    # seconds.
    source = find_model(teacher, values.teacher_weights)
    from bit_keras.training.distill import distill

    student = values.model or SMALL
    distill(
        source.load,
        student,
        functools.partial(task_of, values),
        output_dir=values.output_dir or default_directory("distill", student, values.task),
        pretrained=pretrained_of(values, default=False),
        temperature=values.temperature,
        budget=given(values, UPSTREAM_BUDGET_FLAGS),
        **options_of(values),
    )


# fmt: off
COMMAND = Command(
    "Train a small network, the student, to give the probabilities of a large one, its teacher.",
    (
        (TEXT, "model", None, "the student: a model of the zoo; by default R14x0.5, a small "
         "network"),
        (TEXT, "weights", None, "initial weights of the student: name of a checkpoint, path of an "
         "official npz file, or 'none' for random weights, which are the default"),
        (TEXT, "teacher_weights", None, "weights of a teacher of the zoo: name of a checkpoint, "
         "such as ilsvrc2012, or path of an official npz file"),
        *TASK_FLAG,
        (TEXT, "output_dir", None, "directory of the run; by default runs/distill-MODEL-TASK"),
        (NUMBER, "temperature", 1.0, "the logits of both networks are divided by this number"),
        *UPSTREAM_BUDGET_FLAGS,
        *TRAINING_TASK_FLAGS,
        *RUN_FLAGS,
    ),
    _run,
    ("TEACHER",),
    required=1,
)
# fmt: on

"""The command `bit-keras distill`."""

import re
from pathlib import Path

from absl import flags

from bit_keras.cli.flags import (
    LIST,
    NUMBER,
    RUN_FLAGS,
    TEXT,
    TRAINING_TASK_FLAGS,
    WHOLE,
    Command,
    given,
    numbers,
    options_of,
)
from bit_keras.cli.pretrain import UPSTREAM_BUDGET_FLAGS

# fmt: off
BUDGET_FLAGS = (
    *UPSTREAM_BUDGET_FLAGS,
    (NUMBER, "mixup_alpha", None, "mixup draws from Beta(mixup_alpha, mixup_alpha), and 0 means no "
     "mixup, instead of the recipe's"),
)
# fmt: on


def _run(values: flags.FlagValues, teacher: str) -> None:
    from bit_keras.models.variants import SMALL
    from bit_keras.runs.trained_model import find_model, is_exported

    # A wrong teacher is refused here, before the import of TensorFlow below takes seconds.
    is_file = is_exported(teacher) and values.teacher_weights is None
    source = teacher if is_file else find_model(teacher, values.teacher_weights).load
    view = {
        "output": values.teacher_output,
        "size": values.teacher_size,
        "mean": numbers(values, "teacher_mean"),
        "std": numbers(values, "teacher_std"),
    }
    from bit_keras.data.tasks import pretraining_task
    from bit_keras.training.distill import check_arguments, distill
    from bit_keras.training.options import RunOptions
    from bit_keras.training.teachers import TeacherView

    student = values.model or SMALL
    name = re.sub(r"[^\w.-]+", "-", f"distill-{student}-{values.task}")
    options = options_of(values)
    arguments = {
        "output_dir": values.output_dir or Path("runs", name),
        "pretrained": values.weights or False,
        "temperature": values.temperature,
        "budget": {name: values[name].value for _, name, _, _ in BUDGET_FLAGS},
    }
    # Reading a task may take minutes, so everything else is checked before it.
    check_arguments(student, **arguments, view=TeacherView(**view), options=RunOptions(**options))
    task = pretraining_task(values.task, **given(values, TRAINING_TASK_FLAGS))
    view = {f"teacher_{name}": value for name, value in view.items()}
    distill(source, student, task, **arguments, **view, **options)


# fmt: off
COMMAND = Command(
    "Train a small network, the student, to give the outputs of a large one, its teacher: a run's "
    "directory, a .keras file, a model of the zoo, an exported SavedModel or an ONNX file.",
    (
        (TEXT, "model", None, "the student: a model of the zoo; by default R14x0.5, a small "
         "network"),
        (TEXT, "weights", None, "initial weights of the student: name of a checkpoint, or path of "
         "an official npz file; by default random weights"),
        (TEXT, "teacher_weights", None, "weights of a teacher of the zoo: name of a checkpoint, "
         "such as ilsvrc2012, or path of an official npz file"),
        (TEXT, "teacher_output", "logits", "what the student learns of the teacher: logits, "
         "features or both"),
        (WHOLE, "teacher_size", None, "side in pixels to which the teacher's images are resized; "
         "by default the size of the student's"),
        (LIST, "teacher_mean", None, "the teacher takes (pixel - mean) / std for pixels from 0 to "
         "255; one number, or three for red, green and blue; a SavedModel or an ONNX file needs "
         "it"),
        (LIST, "teacher_std", None, "see --teacher_mean"),
        (TEXT, "task", "digits", "as for finetune; or 'pictures:FOLDER', images without labels in "
         "any folders, for which the student gets the teacher's classes"),
        (TEXT, "output_dir", None, "directory of the run; by default runs/distill-MODEL-TASK"),
        (NUMBER, "temperature", 1.0, "the logits of both networks are divided by this number"),
        *BUDGET_FLAGS,
        *TRAINING_TASK_FLAGS,
        *RUN_FLAGS,
    ),
    _run,
    ("TEACHER",),
    required=1,
)
# fmt: on

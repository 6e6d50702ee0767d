"""`bit-keras distill`: trains a small network to predict the probabilities of a large one."""

import functools

from absl import flags

from bit_keras.cli.flags import (
    LIST,
    NUMBER,
    RUN_FLAGS,
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
from bit_keras.cli.pretrain import UPSTREAM_BUDGET_FLAGS
from bit_keras.models.variants import SMALL

# fmt: off
BUDGET_FLAGS = (
    *UPSTREAM_BUDGET_FLAGS,
    (NUMBER, "mixup_alpha", None, "mixup draws from Beta(mixup_alpha, mixup_alpha), and 0 means no "
     "mixup, instead of the recipe's"),
)
# fmt: on


def _run(values: flags.FlagValues, teacher: str) -> None:
    from bit_keras.runs.trained_model import check_weights_of, find_model, is_exported

    # A wrong name of a teacher is refused here, before the import of TensorFlow below takes
    # seconds.
    if is_exported(teacher) and values.teacher_weights is None:
        source = teacher
    else:
        found = find_model(teacher, values.teacher_weights)
        check_weights_of(found)
        source = found.load
    mean, std = numbers(values, "teacher_mean"), numbers(values, "teacher_std")
    from bit_keras.training.distill import distill

    student = values.model or SMALL
    distill(
        source,
        student,
        functools.partial(task_of, values, pretraining=True),
        output_dir=values.output_dir or default_directory("distill", student, values.task),
        pretrained=pretrained_of(values, default=False),
        temperature=values.temperature,
        teacher_output=values.teacher_output,
        teacher_size=values.teacher_size,
        teacher_mean=mean,
        teacher_std=std,
        budget=given(values, BUDGET_FLAGS),
        **options_of(values),
    )


# fmt: off
COMMAND = Command(
    "Train a small network, the student, to give the outputs of a large one, its teacher: a run's "
    "directory, a .keras file, a model of the zoo, an exported SavedModel or an ONNX file.",
    (
        (TEXT, "model", None, "the student: a model of the zoo; by default R14x0.5, a small "
         "network"),
        (TEXT, "weights", None, "initial weights of the student: name of a checkpoint, path of an "
         "official npz file, or 'none' for random weights, which are the default"),
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

"""`bit-keras pretrain`: trains a network from random weights, and writes a weight file."""

import functools

from absl import flags

from bit_keras.cli.flags import (
    AUGMENTATION_FLAG,
    NUMBER,
    RUN_FLAGS,
    TEXT,
    TRAINING_TASK_FLAGS,
    WHOLE,
    Command,
    default_directory,
    given,
    options_of,
    task_of,
)
from bit_keras.models.variants import SMALL

# fmt: off
UPSTREAM_BUDGET_FLAGS = (
    (NUMBER, "epochs", None, "number of passes over the images, instead of the recipe's; the "
     "epochs at which the learning rate falls move in proportion"),
    (WHOLE, "steps", None, "number of steps, in place of epochs"),
    (WHOLE, "batch_size", None, "batch size instead of the recipe's; the learning rate changes in "
     "proportion unless it is given"),
    (NUMBER, "base_lr", None, "learning rate after the warm-up, instead of the recipe's"),
    (WHOLE, "warmup_steps", None, "number of steps of linear warm-up, instead of the recipe's"),
    (NUMBER, "weight_decay", None, "weight decay of the kernels, instead of the recipe's"),
    (WHOLE, "crop", None, "side in pixels of the crop, instead of the recipe's"),
    (TEXT, "schedule", None, "schedule of the learning rate: 'steps' or 'cosine'"),
)
# fmt: on


def _run(values: flags.FlagValues) -> None:
    from bit_keras.training.pretrain import pretrain

    model = values.model or SMALL
    pretrain(
        model,
        functools.partial(task_of, values, pretraining=True),
        values.recipe,
        output_dir=values.output_dir or default_directory("pretrain", model, values.task),
        budget={**given(values, UPSTREAM_BUDGET_FLAGS), "loss": values.loss},
        augmentation=values.augmentation,
        ema=values.ema,
        **options_of(values),
    )


# fmt: off
COMMAND = Command(
    "Train a network from random weights by a recipe of Big Transfer, and write a weight file.",
    (
        (TEXT, "model", None, "a model of the zoo, such as BiT-M-R50x1; by default R14x0.5, a "
         "small network"),
        (TEXT, "task", "digits", "as for finetune; or imagenet21k, whose --manual_dir holds one "
         "folder for each class, or TFRecord files; 'tfrecords:FOLDER'; or 'labels:FILE', a file "
         "with one line for each image: its path and its labels, separated by tabs"),
        (TEXT, "output_dir", None, "directory of the run; by default runs/pretrain-MODEL-TASK"),
        (TEXT, "recipe", None, "BiT-S, BiT-M, BiT-L or small; by default the recipe of the model"),
        (TEXT, "loss", None, "'softmax', or 'sigmoid' for several labels an image, instead of the "
         "recipe's loss"),
        *UPSTREAM_BUDGET_FLAGS,
        *AUGMENTATION_FLAG,
        (NUMBER, "ema", None, "momentum, such as 0.9999, of a running average of the weights, "
         "which replaces the weights at the end"),
        *TRAINING_TASK_FLAGS,
        *RUN_FLAGS,
    ),
    _run,
)
# fmt: on

"""`bit-keras pretrain`."""

import re
from pathlib import Path

from absl import flags

from bit_keras.commands.command import (
    AUGMENTATION_FLAG,
    NUMBER,
    OVERWRITE_FLAG,
    SCALE_FLAGS,
    TASK_OPTION_FLAGS,
    TEXT,
    WHOLE,
    Command,
    given,
    scale_of,
)

# fmt: off
UPSTREAM_BUDGET_FLAGS = (
    (NUMBER, "epochs", None, "another number of passes over the images; the epochs at which the "
     "learning rate falls move along"),
    (WHOLE, "steps", None, "another number of steps, instead of epochs"),
    (WHOLE, "batch_size", None, "another batch size; the learning rate follows linearly, unless "
     "it is given"),
    (NUMBER, "base_lr", None, "another learning rate, after the warm-up"),
    (WHOLE, "warmup_steps", None, "another number of steps of linear warm-up"),
    (NUMBER, "weight_decay", None, "another weight decay, of kernels alone"),
    (WHOLE, "crop", None, "another side, in pixels, of the crop"),
    (TEXT, "schedule", None, "of the learning rate: 'steps' or 'cosine'"),
)
EVALUATION_FLAGS = (
    (WHOLE, "seed", 0, "the same seed gives the same numbers"),
    (WHOLE, "eval_every", None, "evaluate after so many steps on training images that are held "
     "out; without it all are trained on"),
    (NUMBER, "held_out", 0.02, "the fraction that --eval_every holds out"),
)
# fmt: on


def _run(values: flags.FlagValues) -> None:
    from bit_keras.data.upstream import upstream
    from bit_keras.training.from_scratch import SMALL
    from bit_keras.training.pretrain import pretrain

    model = values.model or SMALL
    budget = {name: values[name].value for _, name, _, _ in UPSTREAM_BUDGET_FLAGS}
    name = re.sub(r"[^\w.-]+", "-", f"pretrain-{model}-{values.task}")
    scale = scale_of(values)
    pretrain(
        model,
        upstream(values.task, **given(values, TASK_OPTION_FLAGS)),
        values.recipe,
        output_dir=values.output_dir or Path("runs", name),
        budget={**budget, "loss": values.loss},
        augmentation=values.augmentation,
        ema=values.ema,
        eval_every=values.eval_every,
        held_out=values.held_out,
        seed=values.seed,
        overwrite=values.overwrite,
        **scale,
    )


# fmt: off
COMMAND = Command(
    "Train a network from random weights by a recipe of Big Transfer; it gives a weight file.",
    (
        (TEXT, "model", None, "a model of the zoo, such as BiT-M-R50x1; without it R14x0.5, a "
         "small network"),
        (TEXT, "task", "digits", "as for finetune; or imagenet21k (in --manual_dir: a folder a "
         "class, or TFRecord files), 'tfrecords:FOLDER', or 'labels:FILE', which lists images, "
         "each with its labels, with tabs between them"),
        (TEXT, "output_dir", None, "where the run is kept; without it runs/pretrain-MODEL-TASK"),
        (TEXT, "recipe", None, "BiT-S, BiT-M, BiT-L or small; without it the model's own"),
        (TEXT, "loss", None, "another loss: 'softmax', or 'sigmoid' for several labels an image"),
        *UPSTREAM_BUDGET_FLAGS,
        *AUGMENTATION_FLAG,
        (NUMBER, "ema", None, "end with the running average of the weights, of this momentum, such "
         "as 0.9999"),
        *EVALUATION_FLAGS,
        *TASK_OPTION_FLAGS,
        *SCALE_FLAGS,
        *OVERWRITE_FLAG,
    ),
    _run,
)
# fmt: on

"""The recipes of pre-training and distillation: hyper-parameters for the size of a data set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras

from bit_keras.hyperrule import HyperRule, HyperRuleSchedule
from bit_keras.training.optimizers import DecayedSGD
from bit_keras.utils.integers import check_integer, is_integer

# The recipe with which `finetune` trains from random weights. It was tuned on scikit-learn's
# digits, where it reaches a test accuracy of 98 % after 20 seconds on two cores. From random
# weights, the BiT-HyperRule's learning rate of 0.003 does not reach this accuracy in 300 steps.
FROM_SCRATCH = HyperRule(
    resize=36,
    crop=32,
    steps=300,
    boundaries=(90, 180, 270),
    warmup_steps=0,
    base_lr=0.03,
    batch_size=64,
    momentum=0.9,
    mixup_alpha=0.0,
)

# At each boundary step, the learning rate is divided by this number (Big Transfer, section 3.1).
_DECAY = 10

# A number of examples that no data set reaches, to check a budget before the data set is read. With
# so many examples, the epochs of a budget give more steps than a warm-up has; a number of steps in
# a budget does not depend on the number of examples.
_MANY_EXAMPLES = 10**12

# The number of steps must be below this limit, because TensorFlow counts steps in int64.
_STEPS_END = 2**63

STEPS, COSINE = "steps", "cosine"

SOFTMAX, SIGMOID, KL = "softmax", "sigmoid", "kl"

SGD, ADAM = "sgd", "adam"


@dataclasses.dataclass(frozen=True)
class UpstreamRule:
    """The hyper-parameters of one run of pre-training or distillation.

    Attributes:
        loss: "softmax" (cross-entropy for one label an image), "sigmoid" (cross-entropy of each
            class, summed over classes, for several labels an image) or "kl" (divergence from a
            teacher); each is a mean over images, in nats.
        optimizer: "sgd" (momentum and coupled weight decay: `bit_keras.DecayedSGD`) or "adam"
            (decoupled weight decay).
        steps: number of training steps.
        boundaries: rising steps; from each of them on, the learning rate is ten times lower.
            Without boundaries, it falls to 0 as half a cosine.
        warmup_steps: number of steps of linear warm-up from 0.
        base_lr: learning rate after the warm-up.
        batch_size: number of images in a step, over all devices.
        weight_decay: weight decay of the kernels; 0 or above. With "sgd",
            `weight_decay / 2 * sum(kernel ** 2)` is added to the loss; with "adam", each step
            subtracts `rate * weight_decay * kernel`.
        crop: side in pixels of the training image, and of the resized test image.
        mixup_alpha: mixup draws from Beta(alpha, alpha), once for each batch; 0 means no mixup.
        clip_norm: the gradient is clipped to this norm, above 0; None means no clipping.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    loss: str
    optimizer: str
    steps: int
    boundaries: tuple[int, ...]
    warmup_steps: int
    base_lr: float
    batch_size: int
    weight_decay: float
    crop: int
    mixup_alpha: float
    clip_norm: float | None

    def __post_init__(self) -> None:
        for field in ("steps", "batch_size", "crop"):
            check_integer(field, getattr(self, field))
        # Maps the name of each field to whether its value is valid, and to a text that says which
        # values are expected.
        ranges = {
            "steps": (self.steps < _STEPS_END, "below 2**63"),
            "base_lr": (0 < self.base_lr < math.inf, "above 0, and finite"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or above, and finite"),
            "mixup_alpha": (0 <= self.mixup_alpha < math.inf, "0 or above, and finite"),
            "warmup_steps": (
                is_integer(self.warmup_steps) and 0 <= self.warmup_steps < self.steps,
                f"from 0 to {self.steps - 1}, an integer below the number of steps (give "
                f"warmup_steps, such as {self.steps // 10}, or more steps)",
            ),
        }
        for field, (fits, expected) in ranges.items():
            if not fits:
                raise ValueError(f"{field} must be {expected}, got {getattr(self, field)!r}.")
        for field in ("steps", "batch_size", "crop", "warmup_steps"):
            # numpy integers become Python ints, because JSON and .keras files cannot store numpy
            # integers.
            object.__setattr__(self, field, int(getattr(self, field)))

    def learning_rate(self, step: int) -> float:
        """Returns the learning rate of a training step; the first step is step 0."""
        if step < self.warmup_steps:
            return self.base_lr * step / self.warmup_steps
        if self.boundaries:
            return self.base_lr / _DECAY ** sum(step >= boundary for boundary in self.boundaries)
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.base_lr * (1 + math.cos(math.pi * done)) / 2

    def schedule(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """Returns the learning rates of the rule as a schedule for a Keras optimizer."""
        if self.boundaries:
            return HyperRuleSchedule(self.base_lr, self.boundaries, self.warmup_steps)
        falling = self.steps - self.warmup_steps
        if not self.warmup_steps:
            return keras.optimizers.schedules.CosineDecay(self.base_lr, falling)
        return keras.optimizers.schedules.CosineDecay(
            0.0, falling, warmup_target=self.base_lr, warmup_steps=self.warmup_steps
        )

    def build_optimizer(self, ema: float | None = None) -> keras.optimizers.Optimizer:
        """Returns the optimizer of the recipe: SGD with coupled weight decay, or AdamW.

        Args:
            ema: momentum of an average of the weights, by which `fit` replaces the weights when it
                ends; None keeps no average.
        """
        arguments = {"learning_rate": self.schedule(), "global_clipnorm": self.clip_norm}
        if ema is not None:
            arguments |= {"use_ema": True, "ema_momentum": ema}
        if self.optimizer == SGD:
            return DecayedSGD(momentum=_MOMENTUM, l2=self.weight_decay, **arguments)
        optimizer = keras.optimizers.AdamW(weight_decay=self.weight_decay, **arguments)
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        return optimizer


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The hyper-parameters of a recipe; its length is in epochs, which `rule` turns into steps.

    Attributes:
        name: name of the recipe.
        epochs: number of passes over the training images.
        decay_epochs: epochs at which the learning rate is divided by ten; without any, it falls as
            half a cosine.
        base_lr: learning rate for `batch_size`.
        loss, warmup_steps, batch_size, weight_decay, crop, optimizer, mixup_alpha, clip_norm: as
            for `UpstreamRule`.
    """

    name: str
    loss: str
    epochs: float
    decay_epochs: tuple[float, ...]
    warmup_steps: int
    base_lr: float
    batch_size: int
    weight_decay: float
    crop: int
    optimizer: str = SGD
    mixup_alpha: float = 0.0
    clip_norm: float | None = None

    def rule(
        self,
        num_examples: int,
        *,
        epochs: float | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        base_lr: float | None = None,
        warmup_steps: int | None = None,
        weight_decay: float | None = None,
        crop: int | None = None,
        loss: str | None = None,
        schedule: str | None = None,
        mixup_alpha: float | None = None,
    ) -> UpstreamRule:
        """Returns hyper-parameters for a data set; arguments of None keep the recipe's values.

        Args:
            num_examples: number of training images.
            epochs: number of passes over the images; the boundaries move in proportion.
            steps: number of steps, in place of `epochs`.
            batch_size: number of images in a step, over all devices; the learning rate changes in
                proportion, unless `base_lr` is given.
            base_lr: learning rate after the warm-up.
            warmup_steps: number of steps of warm-up, below the number of steps.
            weight_decay: weight decay of the kernels; 0 or above.
            crop: side of the training image in pixels.
            loss: "softmax" or "sigmoid".
            schedule: "cosine", or "steps" for a recipe with `decay_epochs`.
            mixup_alpha: as for `UpstreamRule`.

        Raises:
            ValueError: a value is out of range; the message names it.
        """
        if epochs is not None and steps is not None:
            raise ValueError(f"epochs={epochs} and steps={steps} were both given. Give one.")
        if loss not in (None, SOFTMAX, SIGMOID) or (loss and self.loss == KL):
            raise ValueError(
                f"loss={loss!r}: expected 'softmax' or 'sigmoid', and only in pre-training."
            )
        batch_size = self.batch_size if batch_size is None else batch_size
        check_integer("batch_size", batch_size)
        # A Python int cannot overflow when the batch size is multiplied; a numpy integer could.
        batch_size = int(batch_size)
        epochs = self.epochs if epochs is None else epochs
        if not (epochs > 0 and epochs * num_examples < _STEPS_END * batch_size):
            raise ValueError(
                f"epochs must be above 0 and give fewer than 2**63 steps, got {epochs}."
            )
        if steps is None:
            steps = max(1, round(epochs * num_examples / batch_size))
        if base_lr is None:
            base_lr = self.base_lr * batch_size / self.batch_size
        return UpstreamRule(
            loss=loss or self.loss,
            optimizer=self.optimizer,
            steps=steps,
            boundaries=tuple(
                math.ceil(epoch / self.epochs * steps) for epoch in self._decay_epochs(schedule)
            ),
            warmup_steps=self.warmup_steps if warmup_steps is None else warmup_steps,
            base_lr=base_lr,
            batch_size=batch_size,
            weight_decay=self.weight_decay if weight_decay is None else weight_decay,
            crop=self.crop if crop is None else crop,
            mixup_alpha=self.mixup_alpha if mixup_alpha is None else mixup_alpha,
            clip_norm=self.clip_norm,
        )

    def check(self, budget: Mapping[str, Any]) -> None:
        """Raises a ValueError for arguments that `rule` would refuse for every data set."""
        warmup = budget.get("warmup_steps")
        if warmup is not None and not (is_integer(warmup) and warmup >= 0):
            raise ValueError(f"warmup_steps must be an integer of 0 or above, got {warmup!r}.")
        if budget.get("steps") is None:
            # The number of steps follows from the data set, and the longest warm-up from it.
            budget = {**budget, "warmup_steps": 0}
        self.rule(_MANY_EXAMPLES, **budget)

    def _decay_epochs(self, schedule: str | None) -> tuple[float, ...]:
        if schedule not in (None, STEPS, COSINE):
            raise ValueError(f"schedule={schedule!r}: expected 'steps' or 'cosine'.")
        if schedule == STEPS and not self.decay_epochs:
            raise ValueError(
                f"schedule='steps' was given, but the recipe {self.name!r} names no epochs at "
                "which the learning rate falls. Use schedule='cosine'."
            )
        return () if schedule == COSINE else self.decay_epochs


# The pre-training of Big Transfer (arXiv 1912.11370, section 3.1): SGD with momentum 0.9; a
# learning rate of 0.03 for batches of 256 images, scaled linearly to batches of 4096 and warmed up
# over 5000 steps; weight decay 1e-4; Inception crops of 224 pixels.
_MOMENTUM = 0.9

_PAPER = {
    "warmup_steps": 5000,
    "base_lr": 0.03 * 4096 / 256,
    "batch_size": 4096,
    "weight_decay": 1e-4,
    "crop": 224,
}

_SMALL = {
    "warmup_steps": 20,
    "base_lr": FROM_SCRATCH.base_lr,
    "batch_size": FROM_SCRATCH.batch_size,
    "weight_decay": 1e-4,
    "crop": FROM_SCRATCH.crop,
}

SMALL, DISTILL, SMALL_DISTILL = "small", "distill", "small-distill"

RECIPES = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe("BiT-S", SOFTMAX, 90, (30, 60, 80), **_PAPER),
            Recipe("BiT-M", SIGMOID, 90, (30, 60, 80), **_PAPER),
            Recipe("BiT-L", SIGMOID, 40, (10, 23, 30, 37), **_PAPER),
            # A recipe for trying pre-training on small images. The learning rate and the batch size
            # are those with which `finetune` trains from random weights.
            Recipe(SMALL, SOFTMAX, epochs=20, decay_epochs=(), **_SMALL),
            # The recipe of "A good teacher is patient and consistent" (arXiv 2106.05237), from the
            # authors' file `configs/proj/distill/bit_i1k.py` in google-research/big_vision. Their
            # weight decay of 3e-4 is not multiplied by the learning rate. Keras multiplies weight
            # decay by the learning rate, so the number here is 3e-4 / 0.03. Mixup is applied at
            # every step, with Beta(1, 1).
            Recipe(
                DISTILL,
                KL,
                epochs=1200,
                decay_epochs=(),
                warmup_steps=5000,
                base_lr=0.03,
                batch_size=4096,
                weight_decay=0.01,
                crop=224,
                optimizer=ADAM,
                mixup_alpha=1.0,
                clip_norm=1.0,
            ),
            # A recipe for distillation on small images, with SGD as in pre-training.
            Recipe(SMALL_DISTILL, KL, epochs=40, decay_epochs=(), mixup_alpha=1.0, **_SMALL),
        )
    }
)

"""The recipes of pre-training and distillation as numbers, and their rule for a data set."""

from __future__ import annotations

import dataclasses
import math
from types import MappingProxyType

import keras

from bit_keras.decayed_sgd import DecayedSGD
from bit_keras.hyperrule import HyperRuleSchedule
from bit_keras.network_inputs import is_integer, is_positive_integer
from bit_keras.training import from_scratch

# The rate is divided by this at every boundary (arXiv 1912.11370, section 3.1).
_DECAY = 10

# TensorFlow counts steps in int64.
_STEPS_END = 2**63

STEPS, COSINE = "steps", "cosine"
SOFTMAX, SIGMOID, KL = "softmax", "sigmoid", "kl"
SGD, ADAM = "sgd", "adam"


@dataclasses.dataclass(frozen=True)
class UpstreamRule:
    """The hyper-parameters of one run of pre-training or distillation.

    Attributes:
        loss: "softmax" (cross-entropy of one label an image), "sigmoid" (cross-entropy of each
            class, summed over classes: several labels an image) or "kl" (divergence from a
            teacher); all are means over images, in nats.
        optimizer: "sgd" (momentum and coupled weight decay: `bit_keras.DecayedSGD`) or "adam"
            (decoupled weight decay).
        steps: number of training steps.
        boundaries: rising steps from which on the learning rate is ten times lower; none: it
            falls as a half cosine, to 0.
        warmup_steps: steps of linear warm-up from 0.
        base_lr: learning rate after the warm-up.
        batch_size: images a step, over all devices.
        weight_decay: of kernels alone; 0 or above. Under "sgd" the loss has
            `weight_decay / 2 * sum(kernel ** 2)` more; under "adam" each step takes away
            `rate * weight_decay * kernel`.
        crop: side in pixels of the training image, and of the resized test image.
        mixup_alpha: mixup draws from Beta(alpha, alpha), once a batch; 0 is no mixup.
        clip_norm: above 0, to which the gradient is clipped; None: it is not.

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
            _check_positive_integer(field, getattr(self, field))
        ranges = {  # field: (does it fit, what was expected)
            "steps": (self.steps < _STEPS_END, "below 2**63"),
            "base_lr": (0 < self.base_lr < math.inf, "above 0, and finite"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or above, and finite"),
            "warmup_steps": (
                is_integer(self.warmup_steps) and 0 <= self.warmup_steps < self.steps,
                f"from 0 to {self.steps - 1}, an integer below the number of steps (or train "
                "longer)",
            ),
        }
        for field, (fits, expected) in ranges.items():
            if not fits:
                raise ValueError(f"{field} must be {expected}, got {getattr(self, field)!r}.")
        for field in ("steps", "batch_size", "crop", "warmup_steps"):
            # Of numpy's integers neither JSON nor Keras' files know.
            object.__setattr__(self, field, int(getattr(self, field)))

    def learning_rate(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.base_lr * step / self.warmup_steps
        if self.boundaries:
            return self.base_lr / _DECAY ** sum(step >= boundary for boundary in self.boundaries)
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.base_lr * (1 + math.cos(math.pi * done)) / 2

    def schedule(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """Returns `learning_rate` as a schedule for a Keras optimizer."""
        if self.boundaries:
            return HyperRuleSchedule(self.base_lr, self.boundaries, self.warmup_steps)
        falling = self.steps - self.warmup_steps
        if not self.warmup_steps:
            return keras.optimizers.schedules.CosineDecay(self.base_lr, falling)
        return keras.optimizers.schedules.CosineDecay(
            0.0, falling, warmup_target=self.base_lr, warmup_steps=self.warmup_steps
        )

    def build_optimizer(self, ema: float | None = None) -> keras.optimizers.Optimizer:
        """Returns the optimizer.

        Args:
            ema: keep an average of the weights with this momentum, which `fit` puts in their
                place when it ends; None: do not.
        """
        arguments = {"learning_rate": self.schedule(), "global_clipnorm": self.clip_norm}
        if ema is not None:
            arguments |= {"use_ema": True, "ema_momentum": ema}
        return _OPTIMIZERS[self.optimizer](self, arguments)


def _sgd(rule: UpstreamRule, arguments: dict) -> keras.optimizers.Optimizer:
    return DecayedSGD(momentum=_MOMENTUM, l2=rule.weight_decay, **arguments)


def _adam(rule: UpstreamRule, arguments: dict) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.AdamW(weight_decay=rule.weight_decay, **arguments)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


_OPTIMIZERS = {SGD: _sgd, ADAM: _adam}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A row of the table: what a data set's size makes an `UpstreamRule` of.

    Attributes:
        name: in the table.
        epochs: number of passes over the training images.
        decay_epochs: epochs at which the learning rate is divided by ten; none: half a cosine.

    The others are those of `UpstreamRule`; `base_lr` is that of `batch_size`.
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
    ) -> UpstreamRule:
        """Returns the rule for a training set; what is not None replaces the recipe's.

        Args:
            num_examples: number of training images.
            epochs: passes over them; the boundaries move along.
            steps: instead of epochs.
            batch_size: images a step, over all devices; the learning rate follows it linearly,
                unless `base_lr` is given.
            base_lr: learning rate after the warm-up.
            warmup_steps: below the number of steps.
            weight_decay: 0 or above.
            crop: side in pixels.
            loss: "softmax" or "sigmoid".
            schedule: "steps", which only a recipe with decay_epochs has, or "cosine".

        Raises:
            ValueError: a value is out of range; the message names it.
        """
        if epochs is not None and steps is not None:
            raise ValueError(f"epochs={epochs} and steps={steps} were both given: give one.")
        if loss not in (None, SOFTMAX, SIGMOID) or (loss and self.loss == KL):
            raise ValueError(f"loss={loss!r}: expected 'softmax' or 'sigmoid', in pre-training.")
        batch_size = self.batch_size if batch_size is None else batch_size
        _check_positive_integer("batch_size", batch_size)
        batch_size = int(batch_size)  # numpy's has no 2**63
        epochs = self.epochs if epochs is None else epochs
        if not (epochs > 0 and epochs * num_examples < _STEPS_END * batch_size):
            raise ValueError(f"epochs must be above 0, and below 2**63 steps, got {epochs}.")
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
            mixup_alpha=self.mixup_alpha,
            clip_norm=self.clip_norm,
        )

    def _decay_epochs(self, schedule: str | None) -> tuple[float, ...]:
        if schedule not in (None, STEPS, COSINE):
            raise ValueError(f"schedule={schedule!r}: expected 'steps' or 'cosine'.")
        if schedule == STEPS and not self.decay_epochs:
            raise ValueError(
                f"schedule='steps': the recipe {self.name!r} names no epochs at which the rate "
                "falls; it has a cosine."
            )
        return () if schedule == COSINE else self.decay_epochs


def _check_positive_integer(field: str, value: object) -> None:
    if not is_positive_integer(value):
        raise ValueError(f"{field} must be an integer of at least 1, got {value!r}.")


# Big Transfer, section 3.1: SGD with momentum 0.9, learning rate 0.03 and batch 256, scaled
# linearly to 4096 and warmed up over 5000 steps; weight decay 1e-4; Inception crop to 224.
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
    "base_lr": from_scratch.RECIPE.base_lr,
    "batch_size": from_scratch.RECIPE.batch_size,
    "weight_decay": 1e-4,
    "crop": from_scratch.RECIPE.crop,
}

SMALL, DISTILL, SMALL_DISTILL = "small", "distill", "small-distill"

RECIPES = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe("BiT-S", SOFTMAX, 90, (30, 60, 80), **_PAPER),
            Recipe("BiT-M", SIGMOID, 90, (30, 60, 80), **_PAPER),
            Recipe("BiT-L", SIGMOID, 40, (10, 23, 30, 37), **_PAPER),
            # For a first run on small images: rate and batch of from_scratch.py.
            Recipe(SMALL, SOFTMAX, epochs=20, decay_epochs=(), **_SMALL),
            # "A good teacher is patient and consistent" (arXiv 2106.05237) by its authors' file,
            # big_vision `configs/proj/distill/bit_i1k.py`. Its weight decay of 3e-4 is not
            # multiplied by the rate, as Keras' is: 3e-4 / 0.03. Its mixup has p = 1: Beta(1, 1).
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
            # The same for small images, with the optimizer of pre-training.
            Recipe(SMALL_DISTILL, KL, epochs=40, decay_epochs=(), mixup_alpha=1.0, **_SMALL),
        )
    }
)

"""BiT-HyperRule: every hyper-parameter of a fine-tuning run from the data set's size alone."""

from __future__ import annotations

import dataclasses
import math
import numbers
import re

import keras
from keras import ops

from bit_keras.nearest_name import nearest_name

# Paper, section 3.3: "SGD with an initial learning rate of 0.003, momentum 0.9, and batch size
# 512"; the official code has the same three numbers.
_BASE_LR = 0.003
_MOMENTUM = 0.9
_BATCH_SIZE = 512

# The rate is divided by this at every boundary (paper, section 3.3).
_DECAY = 10


@dataclasses.dataclass(frozen=True)
class _Resolution:
    """A row of a recipe: images with fewer than `below` pixels, and how they are resized."""

    below: float
    resize: int
    crop: int
    architecture: str | None = None  # None: every architecture


@dataclasses.dataclass(frozen=True)
class _Budget:
    """A row of a recipe: training sets with fewer than `below` examples, and how they train."""

    below: float
    steps: int
    boundaries: tuple[int, int, int]
    warmup_steps: int
    mixup_alpha: float


@dataclasses.dataclass(frozen=True)
class _Recipe:
    resolutions: tuple[_Resolution, ...]  # the first row that fits counts
    budgets: tuple[_Budget, ...]  # the first row that fits counts


_RECIPES = {
    # Paper, section 3.3. It decays at 30, 60 and 90 % of the steps and mentions no warm-up; only
    # R152x4 trains at 512/480.
    "paper": _Recipe(
        resolutions=(
            _Resolution(below=96 * 96, resize=160, crop=128),
            _Resolution(below=math.inf, resize=512, crop=480, architecture="R152x4"),
            _Resolution(below=math.inf, resize=448, crop=384),
        ),
        budgets=(
            _Budget(20_000, 500, (150, 300, 450), warmup_steps=0, mixup_alpha=0.0),
            _Budget(500_000, 10_000, (3000, 6000, 9000), warmup_steps=0, mixup_alpha=0.1),
            _Budget(math.inf, 20_000, (6000, 12_000, 18_000), warmup_steps=0, mixup_alpha=0.1),
        ),
    ),
    # google-research/big_transfer, bit_hyperrule.py: get_resolution, get_schedule, get_mixup.
    "official": _Recipe(
        resolutions=(
            _Resolution(below=96 * 96, resize=160, crop=128),
            _Resolution(below=math.inf, resize=512, crop=480),
        ),
        budgets=(
            _Budget(20_000, 500, (200, 300, 400), warmup_steps=100, mixup_alpha=0.0),
            _Budget(500_000, 10_000, (3000, 6000, 9000), warmup_steps=500, mixup_alpha=0.1),
            _Budget(math.inf, 20_000, (6000, 12_000, 18_000), warmup_steps=500, mixup_alpha=0.1),
        ),
    ),
}


@dataclasses.dataclass(frozen=True)
class HyperRule:
    """The hyper-parameters of one fine-tuning run (Big Transfer, section 3.3).

    Ask `HyperRule.for_task` for them; `scaled` fits them to a smaller machine.

    Attributes:
        resize: side in pixels of the square to which a training image is resized.
        crop: side in pixels of the random training crop, and of the resized test image.
        steps: number of training steps.
        boundaries: the three steps from which on the learning rate is ten times lower.
        warmup_steps: steps of linear warm-up; 0 is none.
        base_lr: learning rate before the first boundary.
        batch_size: images a step, over all devices.
        momentum: momentum of SGD.
        mixup_alpha: mixup draws from Beta(alpha, alpha); 0.0 is no mixup.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    resize: int
    crop: int
    steps: int
    boundaries: tuple[int, int, int]
    warmup_steps: int
    base_lr: float
    batch_size: int
    momentum: float
    mixup_alpha: float

    def __post_init__(self) -> None:
        for field in ("resize", "crop", "steps", "batch_size"):
            _check_positive_int(field, getattr(self, field))
        if self.crop > self.resize:
            raise ValueError(
                f"crop must not be larger than resize, got crop={self.crop} and "
                f"resize={self.resize}: raise resize or lower crop."
            )
        if len(self.boundaries) != 3 or list(self.boundaries) != sorted(self.boundaries):
            raise ValueError(f"boundaries must be three rising steps, got {self.boundaries}.")
        ranges = {  # field: (does it fit, what was expected)
            "warmup_steps": (0 <= self.warmup_steps <= self.steps, "from 0 to steps"),
            "base_lr": (0 < self.base_lr < math.inf, "above 0, and finite"),
            "momentum": (0 <= self.momentum < 1, "at least 0 and below 1"),
            "mixup_alpha": (self.mixup_alpha >= 0, "0 (no mixup) or above"),
        }
        for field, (fits, expected) in ranges.items():
            if not fits:
                raise ValueError(f"{field} must be {expected}, got {getattr(self, field)}.")

    @classmethod
    def for_task(
        cls,
        num_examples: int,
        image_size: tuple[int, int],
        model: str = "BiT-M-R50x1",
        recipe: str = "paper",
    ) -> HyperRule:
        """Returns the rule for a training set.

        Args:
            num_examples: number of training examples, at least 1.
            image_size: height and width in pixels; where images differ in size, of an image
                of their median area.
            model: name of the network; only whether it is an R152x4 counts.
            recipe: "paper" (section 3.3) or "official" (the code released with the weights,
                which warms up, decays small tasks at other steps and trains every network on
                large images at 512/480).

        Raises:
            ValueError: an unknown recipe, or a size that is not a positive integer.

        >>> rule = HyperRule.for_task(num_examples=50_000, image_size=(32, 32))
        >>> rule.resize, rule.crop, rule.steps, rule.mixup_alpha
        (160, 128, 10000, 0.1)
        """
        _check_positive_int("num_examples", num_examples)
        height, width = _check_image_size(image_size)
        table = _recipe(recipe)
        # "BiT-M-R152x4" in the zoo, "bit_m_r152x4" as the name of the network.
        parts_of_name = re.split("[-_]", model.replace("r", "R"))
        resolution = next(
            row
            for row in table.resolutions
            if height * width < row.below and row.architecture in (None, *parts_of_name)
        )
        budget = next(row for row in table.budgets if num_examples < row.below)
        return cls(
            resize=resolution.resize,
            crop=resolution.crop,
            steps=budget.steps,
            boundaries=budget.boundaries,
            warmup_steps=budget.warmup_steps,
            base_lr=_BASE_LR,
            batch_size=_BATCH_SIZE,
            momentum=_MOMENTUM,
            mixup_alpha=budget.mixup_alpha,
        )

    def learning_rate(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0.

        `base_lr * step / warmup_steps` during the warm-up, as in the official code, so that its
        first step has rate 0; then `base_lr / 10**k` with `k` boundaries at or before `step`, so
        that 30 % of the steps are 30 % of the steps (the official code decays one step later).
        After the last step the lowest rate stays.

        >>> rule = HyperRule.for_task(num_examples=1000, image_size=(32, 32))
        >>> [round(rule.learning_rate(step), 6) for step in (149, 150, 300)]
        [0.003, 0.0003, 3e-05]
        """
        if step < self.warmup_steps:
            return self.base_lr * step / self.warmup_steps
        return self.base_lr / _DECAY ** sum(step >= boundary for boundary in self.boundaries)

    def schedule(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """Returns `learning_rate` as a schedule for a Keras optimizer.

        >>> rule = HyperRule.for_task(num_examples=1000, image_size=(32, 32))
        >>> optimizer = keras.optimizers.SGD(rule.schedule(), momentum=rule.momentum)
        """
        return HyperRuleSchedule(self.base_lr, self.boundaries, self.warmup_steps)

    def scaled(
        self,
        batch_size: int | None = None,
        steps: int | None = None,
        base_lr: float | None = None,
        resize: int | None = None,
        crop: int | None = None,
    ) -> HyperRule:
        """Returns the rule for another budget; what is None stays.

        Boundaries and warm-up move with the steps. The learning rate follows the batch linearly
        unless `base_lr` gives it.

        Args:
            batch_size: images a step, over all devices.
            steps: number of training steps.
            base_lr: learning rate before the first boundary.
            resize: side in pixels of the resized training image.
            crop: side in pixels of the training crop, at most `resize`.

        Raises:
            ValueError: a value is out of range; the message names it.

        >>> rule = HyperRule.for_task(num_examples=1000, image_size=(32, 32))
        >>> rule.scaled(batch_size=128, steps=100).boundaries
        (30, 60, 90)
        """
        batch_size = self.batch_size if batch_size is None else batch_size
        steps = self.steps if steps is None else steps
        if base_lr is None:
            base_lr = self.base_lr * batch_size / self.batch_size
        return dataclasses.replace(
            self,
            batch_size=batch_size,
            steps=steps,
            base_lr=base_lr,
            resize=self.resize if resize is None else resize,
            crop=self.crop if crop is None else crop,
            # Boundaries round up and the warm-up rounds down, so that even the shortest run
            # has a step at the full rate.
            boundaries=tuple(-(-boundary * steps // self.steps) for boundary in self.boundaries),
            warmup_steps=self.warmup_steps * steps // self.steps,
        )


@keras.saving.register_keras_serializable(package="bit_keras")
class HyperRuleSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """`HyperRule.learning_rate` for a Keras optimizer: warm-up, then a staircase.

    Args:
        base_lr: learning rate before the first boundary.
        boundaries: steps from which on the learning rate is ten times lower.
        warmup_steps: steps of linear warm-up; 0 is none.
    """

    def __init__(self, base_lr: float, boundaries: tuple[int, ...], warmup_steps: int = 0) -> None:
        self.base_lr = base_lr
        self.boundaries = tuple(boundaries)
        self.warmup_steps = warmup_steps

    def __call__(self, step: int | keras.KerasTensor) -> keras.KerasTensor:
        """Returns the learning rate of `step` (an integer tensor or number) in float32."""
        # Steps are compared as integers and the stairs are divided in Python, not in float32:
        # so no step falls on the wrong side and each stair is the nearest float32.
        step = ops.cast(step, "int32")
        stairs = [self.base_lr / _DECAY**k for k in range(len(self.boundaries) + 1)]
        passed = ops.sum(ops.cast(step >= ops.convert_to_tensor(self.boundaries), "int32"))
        rate = ops.take(ops.convert_to_tensor(stairs, dtype="float32"), passed)
        if self.warmup_steps == 0:
            return rate
        rising = self.base_lr * ops.cast(step, "float32") / self.warmup_steps
        return ops.where(step < self.warmup_steps, rising, rate)

    def get_config(self) -> dict[str, float | tuple[int, ...]]:
        return {
            "base_lr": self.base_lr,
            "boundaries": self.boundaries,
            "warmup_steps": self.warmup_steps,
        }


def _recipe(name: str) -> _Recipe:
    if name in _RECIPES:
        return _RECIPES[name]
    nearest = nearest_name(name, _RECIPES)
    raise ValueError(
        f"recipe must be one of {', '.join(map(repr, _RECIPES))}, got {name!r}. "
        f"Did you mean {nearest!r}?"
    )


def _check_positive_int(field: str, value: int) -> None:
    if not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{field} must be an integer of at least 1, got {value!r}.")


def _check_image_size(image_size: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = image_size
    except (TypeError, ValueError):
        raise ValueError(
            f"image_size must be two integers, (height, width) in pixels, got {image_size!r}."
        ) from None
    _check_positive_int("image_size[0] (the height)", height)
    _check_positive_int("image_size[1] (the width)", width)
    return height, width

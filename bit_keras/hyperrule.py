"""The BiT-HyperRule: all hyper-parameters of fine-tuning from the size of the data set."""

from __future__ import annotations

import dataclasses
import math
import re

import keras
from keras import ops

from bit_keras.utils.integers import check_integer, is_integer
from bit_keras.utils.momentum_sgd import MomentumSGD
from bit_keras.utils.nearest_name import nearest_name

# Big Transfer (arXiv 1912.11370), section 3.3: "SGD with an initial learning rate of 0.003,
# momentum 0.9, and batch size 512". The official code of Big Transfer has the same three numbers.
_BASE_LR = 0.003
_MOMENTUM = 0.9
_BATCH_SIZE = 512

# At each boundary step, the learning rate is divided by this number (Big Transfer, section 3.3).
_DECAY = 10


@dataclasses.dataclass(frozen=True)
class _Resolution:
    """How images are resized and cropped if their area is less than `below` pixels."""

    below: float
    resize: int
    crop: int
    # The name of the network that the row of the table is for; None means every network.
    architecture: str | None = None


@dataclasses.dataclass(frozen=True)
class _Budget:
    """The number of steps, schedule and mixup for data sets with fewer than `below` examples."""

    below: float
    steps: int
    boundaries: tuple[int, int, int]
    warmup_steps: int
    mixup_alpha: float


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """A version of the BiT-HyperRule: two tables; in each, the first row that fits is used."""

    resolutions: tuple[_Resolution, ...]
    budgets: tuple[_Budget, ...]


_RECIPES = {
    # The numbers of Big Transfer, section 3.3. The learning rate falls at 30, 60 and 90 % of the
    # steps, and the paper mentions no warm-up. Only for R152x4 are large images resized to 512
    # pixels and cropped to 480.
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
    # The numbers of the official code: google-research/big_transfer, bit_hyperrule.py, functions
    # get_resolution, get_schedule and get_mixup.
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

    `HyperRule.for_task` returns the rule for a data set; `scaled` adapts it to a smaller machine.

    Attributes:
        resize: side in pixels of the square to which a training image is resized.
        crop: side in pixels of the random training crop, and of the resized test image.
        steps: number of training steps.
        boundaries: three steps; from each of them on, the learning rate is ten times lower.
        warmup_steps: number of steps of linear warm-up; 0 means no warm-up.
        base_lr: learning rate before the first boundary.
        batch_size: number of images in a step, over all devices.
        momentum: momentum of SGD.
        mixup_alpha: mixup draws from Beta(alpha, alpha); 0.0 means no mixup.

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
            check_integer(field, getattr(self, field))
        if self.crop > self.resize:
            raise ValueError(
                f"crop must not be larger than resize, got crop={self.crop} and "
                f"resize={self.resize}. Raise resize, or lower crop."
            )
        are_steps = len(self.boundaries) == 3 and all(map(is_integer, self.boundaries))
        if not are_steps or list(self.boundaries) != sorted(self.boundaries):
            raise ValueError(f"boundaries must be three rising steps, got {self.boundaries}.")
        # Maps the name of each field to whether its value is valid, and to a text that says which
        # values are expected.
        ranges = {
            "warmup_steps": (
                is_integer(self.warmup_steps) and 0 <= self.warmup_steps <= self.steps,
                "an integer from 0 to steps",
            ),
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
        """Returns the hyper-parameters that the BiT-HyperRule gives for a training set.

        Args:
            num_examples: number of training examples, at least 1.
            image_size: height and width in pixels; if images differ in size, those of an image
                with the median area.
            model: name of the network; an R152x4 is trained at a higher resolution.
            recipe: "paper" (section 3.3) or "official" (the code that was published with the
                weights: it has a warm-up, lowers the learning rate at other steps for small tasks,
                and trains every network on large images at 512/480 pixels).

        Raises:
            ValueError: the recipe is unknown, or a size is not a positive integer.

        >>> rule = HyperRule.for_task(num_examples=50_000, image_size=(32, 32))
        >>> rule.resize, rule.crop, rule.steps, rule.mixup_alpha
        (160, 128, 10000, 0.1)
        """
        check_integer("num_examples", num_examples)
        height, width = _check_image_size(image_size)
        table = _recipe(recipe)
        # The argument `model` may be the name of a model of the zoo, "BiT-M-R152x4", or the name of
        # its Keras network, "bit_m_r152x4".
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
        """Returns the learning rate of a training step; the first step is step 0.

        During the warm-up, the rate is `base_lr * step / warmup_steps`, so that the first step has
        the rate 0, as in the official code. Afterwards it is `base_lr / 10**k`, where `k` is the
        number of boundaries at or before `step`. (The official code lowers the rate one step
        later.) After the last step, the rate stays the same.

        >>> rule = HyperRule.for_task(num_examples=1000, image_size=(32, 32))
        >>> [round(rule.learning_rate(step), 6) for step in (149, 150, 300)]
        [0.003, 0.0003, 3e-05]
        """
        if step < self.warmup_steps:
            return self.base_lr * step / self.warmup_steps
        return self.base_lr / _DECAY ** sum(step >= boundary for boundary in self.boundaries)

    def schedule(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """Returns the learning rates of the rule as a schedule for a Keras optimizer.

        >>> rule = HyperRule.for_task(num_examples=1000, image_size=(32, 32))
        >>> rates = rule.schedule()
        >>> round(float(rates(150)), 6)
        0.0003
        """
        return HyperRuleSchedule(self.base_lr, self.boundaries, self.warmup_steps)

    def optimizer(self) -> MomentumSGD:
        """Returns the optimizer with which `bit_keras.finetune` trains: SGD with momentum.

        It has the rule's learning rate and momentum, and no weight decay. As in the official
        PyTorch and JAX code, the learning rate is not a part of the velocity.

        >>> rule = HyperRule.for_task(num_examples=1000, image_size=(32, 32))
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile(rule.optimizer(), keras.losses.CategoricalCrossentropy(from_logits=True))
        """
        return MomentumSGD(self.schedule(), momentum=self.momentum)

    def scaled(
        self,
        batch_size: int | None = None,
        steps: int | None = None,
        base_lr: float | None = None,
        resize: int | None = None,
        crop: int | None = None,
    ) -> HyperRule:
        """Returns a rule with other steps, batch size and so on; arguments of None change nothing.

        The boundaries and the warm-up change in proportion to the steps. The learning rate changes
        in proportion to the batch size, unless `base_lr` is given.

        Args:
            batch_size: number of images in a step, over all devices.
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
        batch_size = check_integer(
            "batch_size", self.batch_size if batch_size is None else batch_size
        )
        steps = check_integer("steps", self.steps if steps is None else steps)
        if base_lr is None:
            base_lr = self.base_lr * batch_size / self.batch_size
        return dataclasses.replace(
            self,
            batch_size=batch_size,
            steps=steps,
            base_lr=base_lr,
            resize=self.resize if resize is None else resize,
            crop=self.crop if crop is None else crop,
            # The steps at which the learning rate falls are rounded up and the warm-up is rounded
            # down, so that even the shortest run has a step at the full learning rate.
            boundaries=tuple(-(-boundary * steps // self.steps) for boundary in self.boundaries),
            warmup_steps=self.warmup_steps * steps // self.steps,
        )


@keras.saving.register_keras_serializable(package="bit_keras")
class HyperRuleSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rates of a `HyperRule` as a Keras schedule: a warm-up, then falling stairs.

    Args:
        base_lr: learning rate before the first boundary.
        boundaries: steps; from each of them on, the learning rate is ten times lower.
        warmup_steps: number of steps of linear warm-up; 0 means no warm-up.
    """

    def __init__(self, base_lr: float, boundaries: tuple[int, ...], warmup_steps: int = 0) -> None:
        self.base_lr = base_lr
        self.boundaries = tuple(boundaries)
        self.warmup_steps = warmup_steps

    def __call__(self, step: int | keras.KerasTensor) -> keras.KerasTensor:
        """Returns the learning rate of `step` (an integer tensor or number) in float32."""
        # Steps are compared as integers, so that no step falls on the wrong side of a boundary. The
        # learning rate of each stair is computed in Python and then rounded to the nearest float32.
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


def _check_image_size(image_size: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = image_size
    except (TypeError, ValueError):
        raise ValueError(
            f"image_size must be two integers, (height, width) in pixels, got {image_size!r}."
        ) from None
    check_integer("image_size[0] (the height)", height)
    check_integer("image_size[1] (the width)", width)
    return height, width

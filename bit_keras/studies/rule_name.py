"""The rule of a fine-tuning run in words, such as `paper rule, batch_size 128`.

A run records the numbers of its rule. They are those of a recipe under some budget, or of several:
`paper rule` and `paper rule, steps 500` are one and the same for a small task.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bit_keras.hyperrule import HyperRule
from bit_keras.studies import published
from bit_keras.training import from_scratch

_RECIPES = {"paper": "paper rule", "official": "official rule"}
_FROM_SCRATCH = "recipe for training from scratch"

_BUDGET = ("batch_size", "steps", "base_lr", "resize", "crop")

# An image on either side of the rule's boundary of 96 * 96 pixels.
_SMALL, _LARGE = (32, 32), (500, 500)

_PAPER_TASKS = frozenset(row.task for row in published.ROWS)
_SMALL_TASKS = frozenset(
    {
        "cifar10",
        "cifar100",
        "vtab/cifar100",
        "vtab/svhn",
        "vtab/eurosat",
        "vtab/dsprites-xpos",
        "vtab/dsprites-orientation",
    }
)


@dataclass(frozen=True)
class RuleName:
    """A recipe and a budget.

    Attributes:
        recipe: in words.
        budget: arguments of `HyperRule.scaled`, as pairs.
    """

    recipe: str
    budget: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        return ", ".join([self.recipe, *(f"{name} {value:g}" for name, value in self.budget)])

    def fits(self, configuration: Mapping[str, Any]) -> bool:
        """Returns whether it gives the rule of a run."""
        rule = _rule(configuration)
        return self == _own(configuration) or any(
            recipe == self.recipe and _scaled(base, self.budget) == rule
            for recipe, base in _recipes(configuration)
        )

    def joined(self, other: "RuleName") -> "RuleName | None":
        """Returns the rule with both budgets; None if they, or the recipes, contradict."""
        mine, theirs = dict(self.budget), dict(other.budget)
        both = mine | theirs
        if self.recipe != other.recipe or both != theirs | mine:
            return None
        return RuleName(self.recipe, tuple((name, both[name]) for name in _BUDGET if name in both))


def rule_name(configuration: Mapping[str, Any]) -> RuleName:
    """Returns the name with the smallest budget, of those that fit a fine-tuning run.

    Raises:
        KeyError, TypeError, ValueError: the configuration is not one of a fine-tuning run.
    """
    rule = _rule(configuration)
    fitting = [
        RuleName(recipe, budget)
        for recipe, base in _recipes(configuration)
        for budget in _budgets(base, rule)
        if _scaled(base, budget) == rule
    ]
    return min(fitting, key=lambda name: len(name.budget), default=_own(configuration))


def _rule(configuration: Mapping[str, Any]) -> HyperRule:
    numbers = dict(configuration["rule"])
    return HyperRule(**{**numbers, "boundaries": tuple(numbers["boundaries"])})


def _own(configuration: Mapping[str, Any]) -> RuleName:
    numbers = (f"{name} {value}" for name, value in configuration["rule"].items())
    return RuleName(f"own rule ({', '.join(numbers)})")


def _recipes(configuration: Mapping[str, Any]) -> Iterable[tuple[str, HyperRule]]:
    """The recipes as they are for the run's task."""
    if configuration["weights"] == "random":
        yield _FROM_SCRATCH, from_scratch.RECIPE
    count, model = configuration["num_examples"], configuration["model"]
    for recipe, words in _RECIPES.items():
        for size in _image_sizes(configuration["task"]):
            yield words, HyperRule.for_task(count, size, model, recipe)


def _image_sizes(task: str) -> tuple[tuple[int, int], ...]:
    if task in _SMALL_TASKS:
        return (_SMALL,)
    if task in _PAPER_TASKS or task.startswith("vtab/"):
        return (_LARGE,)
    return _SMALL, _LARGE


def _budgets(base: HyperRule, rule: HyperRule) -> Iterable[tuple[tuple[str, float], ...]]:
    """What differs; first without the learning rate, which follows the batch by itself."""
    different = {name for name in _BUDGET if getattr(base, name) != getattr(rule, name)}
    for names in (different - {"base_lr"}, different):
        yield tuple((name, getattr(rule, name)) for name in _BUDGET if name in names)


def _scaled(base: HyperRule, budget: tuple[tuple[str, float], ...]) -> HyperRule | None:
    try:
        return base.scaled(**dict(budget))
    except ValueError:  # a crop that is larger than the recipe's resize
        return None

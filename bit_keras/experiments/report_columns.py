"""Groups fine-tuning runs into columns of a table; the runs of a column differ in task and seed."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bit_keras.runs import run_directory
from bit_keras.runs.found_runs import FoundRun, LeftOut
from bit_keras.training.preparation import RANDOM
from bit_keras.utils.natural_order import natural_key

# A column's title shows only the first 12 characters of long values, such as SHA-256 digests.
_SHORT = 12


@dataclass(frozen=True)
class Column:
    """A column of the report's table: runs of one model with equal weights and hyper-parameters.

    Attributes:
        title: what the runs have in common.
        runs: the runs by task and by seed; the runs of a task differ only in the seed.
    """

    title: str
    runs: Mapping[str, Mapping[int, FoundRun]]

    def accuracies(self, task: str) -> dict[int, float]:
        """Maps each seed to the test accuracy, 0 to 1, of its run on a task."""
        return {seed: run.accuracy for seed, run in self.runs.get(task, {}).items()}


def without_seed(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a run's configuration without the seed and the entries that depend on the seed."""
    # `eval_every` is left out too, because evaluating a run on held-out examples more often does
    # not change its result.
    left_out = {"seed", "eval_every"}
    if configuration.get("weights") == RANDOM:
        # Random initial weights differ for each seed, so the digest of the weights is left out.
        left_out.add("initial_state_sha256")
    return {k: v for k, v in configuration.items() if k not in left_out and v is not None}


def canonical(content: Any) -> str:
    """Returns a JSON text with sorted keys, so that equal contents give equal texts."""
    return json.dumps(content, sort_keys=True)


def without_repeated(runs: Iterable[FoundRun]) -> tuple[list[FoundRun], list[LeftOut]]:
    """Returns the distinct runs, and those with the configuration and seed of an earlier run."""
    first, left_out = {}, []
    for run in runs:
        # A study of several runs is identified by its path and is never a repetition, because two
        # studies with the same configuration may have other tasks or seeds.
        key = run.path if run.is_study else canonical([without_seed(run.configuration), run.seed])
        if key in first:
            reason = f"the same configuration and seed as {first[key].path}, which counts"
            left_out.append(LeftOut(run.path, reason))
        else:
            first[key] = run
    return list(first.values()), left_out


def rule_name(configuration: Mapping[str, Any]) -> str:
    """Returns how a run was trained, in words, such as "paper recipe, batch_size 128"."""
    budget = (
        f"{name} {value if isinstance(value, str) else format(value, 'g')}"
        for name, value in configuration["budget"].items()
    )
    asked = configuration.get("augmentation")
    augmentation = [f"augmentation {asked}"] if asked else []
    return ", ".join([f"{configuration['recipe']} recipe", *budget, *augmentation])


def columns(runs: Sequence[FoundRun]) -> list[Column]:
    """Groups fine-tuning runs into the columns of the report's table, sorted by title."""
    alike = defaultdict(list)
    for run in runs:
        asked = run.configuration
        shots = asked["examples_per_class"]
        title = [asked["model"], f"{asked['weights']} weights", rule_name(asked)]
        title += [f"{shots} example{'s' * (shots != 1)} a class"] if shots else []
        title += [f"{asked['held_out']:g} held out"] if asked.get("held_out") else []
        alike[tuple(title)].append(run)
    found = [column for title, group in alike.items() for column in _by_variant(title, group)]
    return sorted(found, key=lambda column: natural_key(column.title))


def _by_variant(title: tuple[str, ...], runs: Sequence[FoundRun]) -> list[Column]:
    """Splits runs of one title into columns, in which runs of a task differ only in the seed."""
    tasks = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        variant = canonical(without_seed(run.configuration))
        tasks[run.configuration["task"]][variant][run.seed] = run
    together, apart = {}, []
    for task, variants in tasks.items():
        if len(variants) == 1:
            (together[task],) = variants.values()
            continue
        for variant, seeds in variants.items():
            words = _differences(json.loads(variant), map(json.loads, variants))
            apart.append(Column(", ".join([*title, *words]), {task: seeds}))
    return ([Column(", ".join(title), together)] if together else []) + apart


def _differences(asked: dict[str, Any], others: Iterable[dict[str, Any]]) -> list[str]:
    """Returns the settings that differ between configurations, such as "dtype float32"."""
    asked, others = run_directory.flat(asked), [run_directory.flat(other) for other in others]
    keys = sorted({key for other in others for key in other})
    return [
        f"{key} {str(asked.get(key))[:_SHORT]}"
        for key in keys
        if any(other.get(key) != asked.get(key) for other in others)
    ]

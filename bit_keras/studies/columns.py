"""Fine-tuning runs in columns: what stands in one differs only in the task and the seed."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bit_keras.studies.found_runs import FoundRun, LeftOut
from bit_keras.training import run_directory

# So much of a value tells it from another one.
_SHORT = 12


@dataclass(frozen=True)
class Column:
    """Runs of one model, with the same weights, rule and number of examples.

    Attributes:
        title: what they have in common.
        runs: by task and by seed; those of a task differ in the seed alone.
    """

    title: str
    runs: Mapping[str, Mapping[int, FoundRun]]

    def accuracies(self, task: str) -> dict[int, float]:
        """Returns the test accuracies on a task, 0 to 1, by seed."""
        return {seed: run.accuracy for seed, run in self.runs.get(task, {}).items()}


def without_seed(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what runs have in common that differ only in the seed."""
    seeded = {"seed"}
    if configuration.get("weights") == "random":
        seeded.add("initial_state_sha256")  # the seed draws them
    return {
        key: value
        for key, value in configuration.items()
        # Neither what was not asked for, nor how often was looked at what is held out.
        if key not in seeded and key != "eval_every" and value is not None
    }


def canonical(content: Any) -> str:
    """Returns a text that is the same for equal content."""
    return json.dumps(content, sort_keys=True)


def without_repeated(runs: Iterable[FoundRun]) -> tuple[list[FoundRun], list[LeftOut]]:
    """Returns the first run of each configuration and seed, and the others with the reason."""
    first, left_out = {}, []
    for run in runs:
        # A study is not known by its configuration: others of its tasks may come later.
        key = run.path if run.is_study else canonical([without_seed(run.configuration), run.seed])
        if key in first:
            reason = f"the same configuration and seed as {first[key].path}, which counts"
            left_out.append(LeftOut(run.path, reason))
        else:
            first[key] = run
    return list(first.values()), left_out


def rule_name(configuration: Mapping[str, Any]) -> str:
    """Returns how a run was trained in words: "paper recipe, batch_size 128"."""
    budget = (f"{name} {value:g}" for name, value in configuration["budget"].items())
    asked = configuration.get("augmentation")
    augmentation = [f"augmentation {asked}"] if asked else []
    return ", ".join([f"{configuration['recipe']} recipe", *budget, *augmentation])


def columns(runs: Sequence[FoundRun]) -> list[Column]:
    """Returns the columns of fine-tuning runs, none of them repeated."""
    alike = defaultdict(list)
    for run in runs:
        asked = run.configuration
        shots = asked["examples_per_class"]
        title = [asked["model"], f"{asked['weights']} weights", rule_name(asked)]
        title += [f"{shots} example{'s' * (shots != 1)} a class"] if shots else []
        title += [f"{asked['held_out']:g} held out"] if asked.get("held_out") else []
        alike[tuple(title)].append(run)
    found = [column for title, group in alike.items() for column in _by_variant(title, group)]
    return sorted(found, key=lambda column: column.title)


def _by_variant(title: tuple[str, ...], runs: Sequence[FoundRun]) -> list[Column]:
    """Columns apart for those runs of a task that differ in more than the seed."""
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
    asked, others = run_directory.flat(asked), [run_directory.flat(other) for other in others]
    keys = sorted({key for other in others for key in other})
    return [
        f"{key} {str(asked.get(key))[:_SHORT]}"
        for key in keys
        if any(other.get(key) != asked.get(key) for other in others)
    ]

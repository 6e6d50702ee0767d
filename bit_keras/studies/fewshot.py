"""The few-shot curve: test accuracy over examples per class, by fine-tuning or a linear probe."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from bit_keras.data import subsets
from bit_keras.data.tasks import Task
from bit_keras.data.tasks import task as task_of_name
from bit_keras.evaluation.probe import feature_extractor
from bit_keras.hyperrule import HyperRule
from bit_keras.studies.fewshot_probe import probe_accuracies
from bit_keras.studies.fewshot_record import (
    accuracies_of,
    numbers_of,
    table_of,
    title_of,
    write_record,
)
from bit_keras.studies.fewshot_runs import check_origin, finetune_accuracies, remove_study
from bit_keras.studies.fresh_start import release
from bit_keras.studies.integers import distinct_integers
from bit_keras.training import run_directory
from bit_keras.training.plan import Plan, plan
from bit_keras.training.setup import state_digest

# big_vision's few-shot evaluation has the first four; the official code's few-shot accuracies are
# medians of five runs or more.
SHOTS = (1, 5, 10, 25, 100)
SEEDS = (0, 1, 2, 3, 4)

_FINE_TUNING, _PROBE = "fine-tuning", "linear probe"

# What tells one study from another, and is as in the configuration of a run.
_OF_THE_PLAN = ("model", "weights", "initial_state_sha256")


@dataclass(frozen=True, eq=False)
class FewShot:
    """What a few-shot study leaves.

    Attributes:
        accuracies: test accuracies from 0 to 1, one for each seed, by examples per class.
        metrics: the content of metrics.json.
        output_dir: with config.json, metrics.json, fewshot.png, fewshot.md and, by fine-tuning,
            the run of each point in shots-K-seed-S.
    """

    accuracies: dict[int, list[float]]
    metrics: dict
    output_dir: Path


def fewshot(
    model: str | keras.Model,
    task: str | Task,
    *,
    output_dir: str | os.PathLike,
    shots: Sequence[int] = SHOTS,
    seeds: Sequence[int] = SEEDS,
    probe: bool = False,
    pretrained: bool | str | os.PathLike = True,
    recipe: str = "paper",
    budget: dict[str, float | None] | None = None,
    overwrite: bool = False,
    verbose: bool = True,
) -> FewShot:
    """Measures test accuracy over the number of training examples per class, for several seeds.

    By fine-tuning, each point is a `finetune` run. By the linear probe, all points rest on one
    pass of the frozen network over the images, and each is solved in closed form
    (`bit_keras.evaluation.probe`). A seed chooses the same images for both, and more of them for
    more shots.

    The same call on the same directory goes on where it was interrupted or killed, also inside a
    point (a probe takes its features again); a finished study is returned as it is. A study of
    other arguments is refused.

    Args:
        model: a name from `list_models()`, or "R14x0.5" (a small network, from random weights);
            or your own network: with one logit for each class, or for a probe, with pooled
            features as its output. Each run starts from the weights that it is given with, and it
            has them again in the end.
        task: a name for `bit_keras.task`, or a task.
        output_dir: where the study is kept.
        shots: training images of each class.
        seeds: of the subsets and of the fine-tuning runs.
        probe: whether to fit a linear probe to frozen features instead of fine-tuning.
        pretrained: of a named model: as for its constructor.
        recipe: of the BiT-HyperRule, "paper" or "official"; a probe takes its test resolution, or
            with random weights of a named model that of the recipe for training from scratch.
        budget: arguments of `HyperRule.scaled`, which is applied to the rule; a probe takes only
            `crop`.
        overwrite: start anew in a directory that holds a study.
        verbose: whether to say what is done and to show progress bars.

    Raises:
        ValueError: an unknown model or task, a class that has not so many images, a model that
            does not fit, or an `output_dir` of another study.
        OSError: no weights on this machine, or an `output_dir` that cannot be written.
        CheckpointError: the weights do not fit, or are damaged.
    """
    shots = distinct_integers("shots", shots, least=1)
    seeds = distinct_integers("seeds", seeds, least=0)
    task = _with_labels(task_of_name(task) if isinstance(task, str) else task)
    _check_shots(task, shots)
    budget = {name: value for name, value in (budget or {}).items() if value is not None}
    training = {"pretrained": pretrained, "recipe": recipe, "budget": budget}
    planned = (_planned_probe if probe else plan)(model, task, seed=seeds[0], **training)
    configuration = {
        **{key: planned.configuration[key] for key in _OF_THE_PLAN},
        **task.identity,
        "command": "fewshot",
        "method": _PROBE if probe else _FINE_TUNING,
        "shots": list(shots),
        "seeds": list(seeds),
        "recipe": recipe,
        "budget": run_directory.plain(budget),
    }
    directory = Path(output_dir)
    # Nothing is written before all that was asked for is known to be possible.
    if overwrite:
        remove_study(directory)
    check_origin(directory)
    finished = run_directory.claim(directory, configuration, overwrite)
    if finished is not None:
        if verbose:
            print(f"{directory} holds this study, finished: nothing to do.")
        return _told(directory, finished, verbose)
    if verbose:
        print(_announcement(configuration, task, planned.rule))
    points = [(count, seed) for count in shots for seed in seeds]
    if probe:
        accuracies, seconds = probe_accuracies(planned.network, task, planned.rule, points, verbose)
    else:
        del planned  # each run has a network of its own
        release()
        accuracies, seconds = finetune_accuracies(
            model, task, points, directory, verbose, **training
        )
    metrics = {
        **numbers_of({count: [accuracies[count, seed] for seed in seeds] for count in shots}),
        "num_test_examples": task.num_test_examples,
        "seconds": round(seconds, 1),
        "seed": list(seeds),
        "configuration": configuration,
        "versions": run_directory.versions(),
    }
    write_record(metrics, task.num_classes, directory)
    run_directory.write_json(directory / run_directory.METRICS, metrics)
    return _told(directory, metrics, verbose)


def _told(directory: Path, metrics: dict, verbose: bool) -> FewShot:
    if verbose:
        print()
        table_of(metrics).print()
        print(f"Over all {metrics['num_test_examples']} test images. It is in {directory}.")
    return FewShot(accuracies_of(metrics), metrics, directory)


def _with_labels(task: Task) -> Task:
    """The task with the labels of its training set, read once for all points."""
    labels = subsets.read_labels(task.train)
    return dataclasses.replace(task, train=dataclasses.replace(task.train, labels=labels))


def _check_shots(task: Task, shots: tuple[int, ...]) -> None:
    counts = np.bincount(task.train.labels, minlength=task.num_classes)
    fewest = int(counts.argmin())
    if counts[fewest] >= shots[-1]:
        return
    possible = ", ".join(str(count) for count in shots if count <= counts[fewest])
    raise ValueError(
        f"{task.name}: class {task.class_names[fewest]!r} has {counts[fewest]} training examples, "
        f"but shots={shots} were asked for; of these are possible: {possible or 'none'}. Ask for "
        "fewer, or add images to the class."
    )


def _planned_probe(
    model: str | keras.Model, task: Task, *, pretrained, recipe: str, budget: dict, seed: int
) -> Plan:
    """The plan whose network ends at the features, at the rule's resolution or another."""
    crop, *others = budget.get("crop"), *(name for name in budget if name != "crop")
    if others:
        raise ValueError(
            f"{', '.join(others)}: a linear probe does not train the network. Of the budget it "
            "takes only crop, the side in pixels of the images. Leave the others out."
        )
    # A crop below 1 is refused by its own name.
    size = {} if crop is None else {"crop": crop, "resize": max(crop, 1)}
    if isinstance(model, str):
        planned = plan(model, task, pretrained=pretrained, recipe=recipe, budget=size, seed=seed)
        network = feature_extractor(planned.network, planned.rule)
        return dataclasses.replace(planned, network=network)
    rule = HyperRule.for_task(task.num_examples, task.image_size, model.name, recipe)
    rule = rule.scaled(**size)
    network = feature_extractor(model, rule)
    given = {"model": model.name, "weights": "given", "initial_state_sha256": state_digest(network)}
    strategy = model.distribute_strategy
    return Plan(network, task, rule, held_out=None, strategy=strategy, configuration=given)


def _announcement(configuration: dict, task: Task, rule: HyperRule) -> str:
    shots, seeds = (", ".join(map(str, configuration[key])) for key in ("shots", "seeds"))
    lines = [
        f"{title_of(configuration)}: {shots} examples per class, seeds {seeds}",
        f"{task.num_classes} classes, {task.num_test_examples} test images at {rule.crop} pixels",
    ]
    if configuration["weights"] == "random":
        lines.append("The weights are random: the curve says nothing of pre-training.")
    return "\n".join(lines)

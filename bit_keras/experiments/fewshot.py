"""The few-shot curve: test accuracy over examples per class, by fine-tuning or a linear probe."""

import dataclasses
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from bit_keras.data import subsets
from bit_keras.data.tasks import Task, as_task
from bit_keras.evaluation.linear_probe import feature_extractor, features, fit_probe
from bit_keras.experiments.fewshot_report import (
    PICTURE,
    TABLE,
    accuracies_of,
    numbers_of,
    table_of,
    title_of,
    write_record,
)
from bit_keras.experiments.repeated_runs import (
    StudyRun,
    refuse_workers,
    release,
    train_missing,
)
from bit_keras.hyperrule import HyperRule
from bit_keras.runs import run_directory
from bit_keras.training.finetune import check_arguments, prepare
from bit_keras.training.preparation import GIVEN, RANDOM, state_digest
from bit_keras.utils.integers import distinct_integers
from bit_keras.utils.printable import print_text

# The default numbers of examples per class; big_vision's few-shot evaluation uses 1, 5, 10 and 25.
SHOTS = (1, 5, 10, 25, 100)

# Five default seeds, because the official code reports medians over at least five few-shot runs.
SEEDS = (0, 1, 2, 3, 4)

_FINE_TUNING, _PROBE = "fine-tuning", "linear probe"

_RUN_NAME = re.compile(r"shots-\d+-seed-\d+")

# Keys that a few-shot study copies from the configuration of a fine-tuning run into its own
# configuration.
_MODEL_KEYS = ("model", "weights", "initial_state_sha256")


@dataclass(frozen=True, eq=False)
class FewShot:
    """The result of a few-shot study: the test accuracies and the directory of its files.

    Attributes:
        accuracies: test accuracies from 0 to 1, one for each seed, by examples per class.
        metrics: the content of metrics.json.
        output_dir: holds config.json, metrics.json, fewshot.png, fewshot.md and, if the study
            fine-tunes, the run of each point in shots-K-seed-S.
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

    With fine-tuning, each point is a `finetune` run. With the linear probe, the frozen network
    computes the features of all images once, and each point is solved in closed form
    (`evaluation.linear_probe`). A seed chooses the same images for both methods; the images for
    fewer shots are among those for more shots.

    The same call on the same directory continues where it was interrupted or killed, also inside
    a run (a probe computes its features again); a finished study is returned as it is. A
    directory with a study of other arguments is refused.

    Args:
        model: a name from `list_models()`, or "R14x0.5" (a small network, from random weights);
            or your own network: with one logit for each class, or for a probe, with pooled
            features as its output. A network starts each run with the weights that it was given
            with, and has them again at the end.
        task: a name for `bit_keras.task`, or a task.
        output_dir: where the study is kept.
        shots: numbers of training images of each class.
        seeds: seeds of the subsets and of the fine-tuning runs.
        probe: if True, fit a linear probe to frozen features instead of fine-tuning.
        pretrained: for a named model, as for its constructor.
        recipe: the BiT-HyperRule, "paper" or "official". A probe uses only its test resolution;
            a named model with random weights uses that of the recipe for training from scratch.
        budget: keyword arguments of `HyperRule.scaled`, which is applied to the rule; a probe
            takes only `crop`.
        overwrite: start anew in a directory that holds a study.
        verbose: if True, print what is done and show progress bars.

    Raises:
        ValueError: an unknown model or task, a class with too few images, a model that does not
            fit, or an `output_dir` that holds another study.
        OSError: the weights are not on this machine, or `output_dir` cannot be written.
        CheckpointError: the weights do not fit, or are damaged.
    """
    shots = distinct_integers("shots", shots, least=1)
    seeds = distinct_integers("seeds", seeds, least=0)
    budget = {name: value for name, value in (budget or {}).items() if value is not None}
    if probe:
        _check_budget_of_probe(budget)
    check_arguments(model, pretrained=pretrained, recipe=recipe, budget=budget)
    study = {
        "command": "fewshot",
        "method": _PROBE if probe else _FINE_TUNING,
        "shots": list(shots),
        "seeds": list(seeds),
        "recipe": recipe,
        "budget": run_directory.plain(budget),
    }
    directory = Path(output_dir).expanduser()
    run_directory.check_usable(directory, study, overwrite)
    refuse_workers(model)
    task = _with_labels(as_task(task))
    _check_shots(task, shots)
    training = {"pretrained": pretrained, "recipe": recipe, "budget": budget}
    start = (_prepare_probe if probe else _prepare_runs)(model, task, seed=seeds[0], **training)
    network, crop, of_model = start
    configuration = {
        **{key: of_model[key] for key in _MODEL_KEYS},
        **task.identity,
        # The choices of flip and random crop are left out for a linear probe, because its training
        # images are neither flipped nor cropped at random.
        **({} if probe else task.chosen),
        **study,
    }
    # All arguments are checked before the first file is written or removed.
    if overwrite:
        run_directory.remove_runs(_study_runs(directory))
        for file in _study_pictures(directory):
            file.unlink()
    _check_origin(directory)
    finished = run_directory.claim(directory, configuration, overwrite)
    if finished is not None:
        if verbose:
            print_text(f"{directory} already holds this study, finished: nothing to do.")
        return _result(directory, finished, verbose)
    if verbose:
        print_text(_announcement(configuration, task, crop))
    points = [(count, seed) for count in shots for seed in seeds]
    if probe:
        accuracies, seconds = _probe_points(network, task, crop, points, verbose)
    else:
        del start, network  # Each fine-tuning builds its own network, so this one is freed.
        release()
        accuracies, seconds = _finetune_points(
            model, task, points, configuration, directory, verbose=verbose, **training
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
    return _result(directory, metrics, verbose)


def _result(directory: Path, metrics: dict, verbose: bool) -> FewShot:
    if verbose:
        print_text()
        table_of(metrics).print()
        print_text(f"Over all {metrics['num_test_examples']} test images. Written to {directory}.")
    return FewShot(accuracies_of(metrics), metrics, directory)


def _with_labels(task: Task) -> Task:
    """Reads the training labels of a task once; returns the task with these labels."""
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
        f"too few for shots={shots}. These numbers are possible: {possible or 'none'}. Ask for "
        "fewer shots, or add images to the class."
    )


def _prepare_runs(
    model: str | keras.Model, task: Task, **arguments
) -> tuple[keras.Model, int, dict]:
    """Returns the network, the side of the images in pixels, and the configuration of a run."""
    run = prepare(model, task, **arguments)
    return run.network, run.rule.crop, run.configuration


def _check_budget_of_probe(budget: dict) -> None:
    others = [name for name in budget if name != "crop"]
    if others:
        raise ValueError(
            f"{', '.join(others)}: a linear probe does not train the network. In budget it takes "
            "only crop (--crop), the side of the images in pixels. Leave the others out."
        )


def _prepare_probe(
    model: str | keras.Model, task: Task, *, pretrained, recipe: str, budget: dict, seed: int
) -> tuple[keras.Model, int, dict]:
    """Prepares a study with a linear probe.

    Returns:
        The network that computes features, the side of the images in pixels, and a dict with the
        entries of the configuration that describe the network.
    """
    crop = budget.get("crop")
    # `resize` is at least 1, so that for a crop below 1 the error of HyperRule.scaled names the
    # crop.
    size = {} if crop is None else {"crop": crop, "resize": max(crop, 1)}
    if isinstance(model, str):
        run = prepare(model, task, pretrained=pretrained, recipe=recipe, budget=size, seed=seed)
        crop = run.rule.crop
        return feature_extractor(run.network, crop), crop, run.configuration
    rule = HyperRule.for_task(task.num_examples, task.image_size, model.name, recipe)
    crop = rule.scaled(**size).crop
    network = feature_extractor(model, crop)
    given = {"model": model.name, "weights": GIVEN, "initial_state_sha256": state_digest(network)}
    return network, crop, given


def _announcement(configuration: dict, task: Task, crop: int) -> str:
    shots, seeds = (", ".join(map(str, configuration[key])) for key in ("shots", "seeds"))
    lines = [
        f"{title_of(configuration)}: {shots} examples per class, seeds {seeds}",
        f"{task.num_classes} classes, {task.num_test_examples} test images at {crop} pixels",
    ]
    if task.note:
        lines.append(task.note)
    if configuration["weights"] == RANDOM:
        lines.append("The weights are random: the curve does not measure pre-training.")
    return "\n".join(lines)


def _finetune_points(
    model: str | keras.Model,
    task: Task,
    points: Sequence[tuple[int, int]],
    configuration: dict,
    directory: Path,
    **arguments,
) -> tuple[dict[tuple[int, int], float], float]:
    """Fine-tunes for each pair (examples per class, seed); returns accuracies and total seconds.

    Args:
        model: the model of all runs.
        task: the task of all runs.
        points: pairs of training images per class and seed.
        configuration: that of the study.
        directory: that of the study; each run is in shots-K-seed-S below it.
        **arguments: keyword arguments of `train_missing` and `finetune`.
    """
    common = {key: configuration[key] for key in ("model", "weights", "task", "budget")}
    runs = {}
    for count, seed in points:
        own = {"examples_per_class": count, "seed": seed}
        runs[count, seed] = StudyRun(
            f"{count} examples per class, seed {seed}",
            directory / f"shots-{count}-seed-{seed}",
            lambda: task,
            own,
            {"command": "finetune", **common, **own},
        )
    metrics = [found for _, found in train_missing(model, list(runs.values()), **arguments)]
    accuracies = [found["test_accuracy"] for found in metrics]
    return dict(zip(runs, accuracies, strict=True)), sum(found["seconds"] for found in metrics)


def _probe_points(
    network: keras.Model,
    task: Task,
    crop: int,
    points: Iterable[tuple[int, int]],
    verbose: bool = False,
) -> tuple[dict[tuple[int, int], float], float]:
    """Fits a probe for each pair (examples per class, seed); returns accuracies and total seconds.

    Each probe is fitted to the images that `subsets.few_shot` chooses. The network computes the
    features of each test image, and of each training image that any probe needs, once.

    Args:
        network: what `bit_keras.evaluation.linear_probe.feature_extractor` returns.
        task: the task; its training labels are known.
        crop: side in pixels of the resized images.
        points: pairs of training images per class and seed.
        verbose: if True, print what is done and show progress bars.
    """
    start = time.monotonic()
    labels, test_labels = subsets.read_labels(task.train), subsets.read_labels(task.test)
    chosen = {point: subsets.few_shot_positions(task, *point) for point in points}
    needed = np.unique(np.concatenate(list(chosen.values())))
    if verbose:
        print_text(f"Features of {len(needed)} training and {len(test_labels)} test images:")
    examples = subsets.where(task.train, np.isin(np.arange(task.num_examples), needed))
    train = features(network, examples, task, crop, verbose)
    test = features(network, task.test, task, crop, verbose)
    accuracies = {}
    for point, positions in chosen.items():
        rows = np.searchsorted(needed, positions)
        probe = fit_probe(train[rows], labels[positions], task.num_classes)
        accuracies[point] = float((probe.scores(test).argmax(axis=1) == test_labels).mean())
    return accuracies, time.monotonic() - start


def _check_origin(directory: Path) -> None:
    """Raises a ValueError if a directory holds files of a few-shot study, but no config.json."""
    found = [*_study_runs(directory), *_study_pictures(directory)]
    if found and not (directory / run_directory.CONFIG).exists():
        raise ValueError(
            f"{directory} holds {found[0].name} but no {run_directory.CONFIG}, so it is not known "
            "which study it belongs to. Choose another output_dir (--output_dir), or pass "
            "overwrite (--overwrite) to remove it."
        )


def _study_runs(directory: Path) -> list[Path]:
    runs = (path.parent for path in directory.glob(f"shots-*/{run_directory.CONFIG}"))
    return [run for run in runs if _RUN_NAME.fullmatch(run.name)]


def _study_pictures(directory: Path) -> list[Path]:
    return [directory / name for name in (PICTURE, TABLE) if (directory / name).exists()]

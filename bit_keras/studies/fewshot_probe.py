"""The few-shot curve by the linear probe: features once, then one closed form for each point."""

import time
from collections.abc import Iterable

import keras
import numpy as np

from bit_keras.data import subsets
from bit_keras.data.tasks import Task
from bit_keras.evaluation.probe import features, fit_probe
from bit_keras.hyperrule import HyperRule


def probe_accuracies(
    network: keras.Model,
    task: Task,
    rule: HyperRule,
    points: Iterable[tuple[int, int]],
    verbose: bool = False,
) -> tuple[dict[tuple[int, int], float], float]:
    """Returns the test accuracy, 0 to 1, of a linear probe for each point, and the seconds taken.

    Each is fitted to the images that `subsets.few_shot` chooses. The network sees every image of
    the test split once, and once every training image that any of them needs.

    Args:
        network: what `bit_keras.evaluation.probe.feature_extractor` returns.
        task: the task, its labels known.
        rule: of which only `crop` counts.
        points: pairs of training images per class and seed.
        verbose: whether to say what is done and to show progress bars.
    """
    start = time.monotonic()
    labels, test_labels = subsets.read_labels(task.train), subsets.read_labels(task.test)
    chosen = {point: subsets.few_shot_positions(task, *point) for point in points}
    needed = np.unique(np.concatenate(list(chosen.values())))
    if verbose:
        print(f"Features of {len(needed)} training and {len(test_labels)} test images:")
    examples = subsets.where(task.train, np.isin(np.arange(task.num_examples), needed))
    train = features(network, examples, task, rule, verbose)
    test = features(network, task.test, task, rule, verbose)
    accuracies = {}
    for point, positions in chosen.items():
        rows = np.searchsorted(needed, positions)
        probe = fit_probe(train[rows], labels[positions], task.num_classes)
        accuracies[point] = float((probe.scores(test).argmax(axis=1) == test_labels).mean())
    return accuracies, time.monotonic() - start

"""The few-shot curve by the linear probe: features once, then one closed form for each point."""

import dataclasses
import time
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from bit_keras.data import subsets
from bit_keras.data.tasks import Examples, Task
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
        task: the task.
        rule: of which only `crop` counts.
        points: pairs of training images per class and seed.
        verbose: whether to say what is done and to show progress bars.
    """
    start = time.monotonic()
    labels, test_labels = subsets.read_labels(task.train), subsets.read_labels(task.test)
    chosen = {point: few_shot_positions(task, labels, *point) for point in points}
    needed = np.unique(np.concatenate(list(chosen.values())))
    if verbose:
        print(f"Features of {len(needed)} training and {len(test_labels)} test images:")
    train = features(network, _streamed(task.train, needed), task, rule, verbose)
    test = features(network, task.test, task, rule, verbose)
    accuracies = {}
    for point, positions in chosen.items():
        rows = np.searchsorted(needed, positions)
        probe = fit_probe(train[rows], labels[positions], task.num_classes)
        accuracies[point] = float((probe.scores(test).argmax(axis=1) == test_labels).mean())
    return accuracies, time.monotonic() - start


def few_shot_positions(task: Task, labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Returns the rising positions in the training set of what `subsets.few_shot` chooses.

    Args:
        task: the task.
        labels: int64 `[task.num_examples]`, of its training set.
        count: training images of each class.
        seed: of the subset.
    """
    # The same choice among elements that are their own positions.
    numbers = dataclasses.replace(
        task.train, elements=lambda: tf.data.Dataset.range(len(labels)), labels=labels
    )
    numbered = dataclasses.replace(task, train=numbers)
    chosen = subsets.few_shot(numbered, count, seed).train
    return np.fromiter(chosen.elements().as_numpy_iterator(), np.int64, chosen.num_examples)


def _streamed(examples: Examples, chosen: np.ndarray) -> Examples:
    """The examples at rising positions: read once, they need not be held in memory."""
    mask = np.zeros(examples.num_examples, bool)
    mask[chosen] = True

    def elements() -> tf.data.Dataset:
        numbered = examples.elements().enumerate()
        return numbered.filter(lambda index, _: tf.gather(mask, index)).map(lambda _, e: e)

    return dataclasses.replace(examples, num_examples=len(chosen), elements=elements, labels=None)

"""Subsets of a task's examples, chosen without decoding an image."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from bit_keras.data.tasks import Examples, Task

# Beside the streams of random numbers in pipeline.py.
_FEW_SHOT, _HOLD_OUT = 3, 4


def few_shot(task: Task, examples_per_class: int, seed: int = 0) -> Task:
    """Returns the task with a balanced subset of its training examples.

    The choice depends on the labels and the seed alone; a larger subset of the same seed
    contains the smaller ones. The chosen elements are held in memory.

    Args:
        task: the task.
        examples_per_class: training examples of each class, at least 1.
        seed: an integer; another one chooses other examples.

    Raises:
        ValueError: a class has fewer training examples.
    """
    return dataclasses.replace(
        task, train=subset(task.train, few_shot_positions(task, examples_per_class, seed))
    )


def few_shot_positions(task: Task, examples_per_class: int, seed: int = 0) -> np.ndarray:
    """Returns the rising positions in the training set of what `few_shot` chooses.

    Args and errors are those of `few_shot`.
    """
    if examples_per_class < 1:
        raise ValueError(f"examples_per_class must be at least 1, got {examples_per_class}.")
    labels = read_labels(task.train)
    chosen = []
    for label, class_name in enumerate(task.class_names):
        members = np.flatnonzero(labels == label)
        if len(members) < examples_per_class:
            raise ValueError(
                f"{task.name}: class {class_name!r} has {len(members)} training examples, but "
                f"examples_per_class={examples_per_class} were asked for: ask for fewer, or add "
                "images to the class."
            )
        rng = np.random.default_rng([seed, _FEW_SHOT, label])
        chosen.extend(rng.permutation(members)[:examples_per_class])
    return np.sort(chosen)


def hold_out(task: Task, fraction: float, seed: int = 0) -> tuple[Task, Examples]:
    """Returns the task without some of its training examples, and these.

    Which ones is drawn at random by position: neither a label is read nor an image decoded, and
    nothing but a mask of the positions is held in memory. The official code takes the last 1 or
    2 % of the training split; here that would be the last classes where images come class by
    class, as in a folder.

    Args:
        task: the task.
        fraction: of the training examples, above 0 and below 1; rounded to whole examples.
        seed: an integer; another one holds out other examples.

    Raises:
        ValueError: the fraction is out of range, or leaves one of the two parts empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"held_out must be above 0 and below 1, got {fraction}.")
    total = task.num_examples
    count = round(fraction * total)
    if not 0 < count < total:
        raise ValueError(
            f"{task.name}: held_out={fraction} of {total} training examples is {count} of them; "
            "expected at least one held out and one to train on. Choose another held_out, or add "
            "images."
        )
    rng = np.random.default_rng([seed, _HOLD_OUT])
    held = np.zeros(total, bool)
    held[rng.choice(total, count, replace=False)] = True
    remaining = dataclasses.replace(task, train=where(task.train, ~held))
    return remaining, where(task.train, held)


def read_labels(examples: Examples) -> np.ndarray:
    """Returns the labels, int64 `[num_examples]`, in the fixed order; no image is decoded.

    The task has one label an image.
    """
    if examples.labels is not None:
        return examples.labels
    labels = examples.dataset().map(lambda example: example["label"])
    return np.fromiter(labels.as_numpy_iterator(), np.int64, examples.num_examples)


def subset(examples: Examples, chosen: np.ndarray) -> Examples:
    """Returns the examples at some positions, held in memory but not decoded.

    Args:
        examples: of which some are chosen.
        chosen: rising positions in the fixed order, at least one.
    """
    mask = np.zeros(examples.num_examples, bool)
    mask[chosen] = True
    streamed = where(examples, mask)
    # Batched by tf.data: a numpy array of bytes would drop the zeros at an image's end.
    held = streamed.elements().batch(len(chosen)).get_single_element()
    return dataclasses.replace(
        streamed,
        elements=lambda: tf.data.Dataset.from_tensor_slices(held),
        shuffle_buffer=None,
    )


def where(examples: Examples, mask: np.ndarray) -> Examples:
    """Returns the examples where a mask is true; the others are passed over as they stream by.

    Args:
        examples: of which some are chosen.
        mask: bool `[num_examples]`, in the fixed order.
    """

    def elements() -> tf.data.Dataset:
        return (
            examples.elements()
            .enumerate()
            .filter(lambda index, _: tf.gather(mask, index))
            .map(lambda _, element: element)
        )

    return dataclasses.replace(
        examples,
        num_examples=int(mask.sum()),
        elements=elements,
        labels=None if examples.labels is None else examples.labels[mask],
    )

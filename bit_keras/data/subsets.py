"""Chooses subsets of a task's examples without decoding an image."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task
from bit_keras.utils.integers import check_integer

# The random choices of this file are seeded with the user's seed and one of these numbers, so that
# choices of different kinds are independent.
_FEW_SHOT, _HOLD_OUT = 3, 4

# A test split that is made here has at most this number of images, and at most this fraction of all
# images. The number is that of images that big_vision holds out of ImageNet-21k
# (`configs/bit_i21k.py`); a small data set has too few images for it.
_MAX_TEST, _TEST_FRACTION = 51_200, 0.1

# The number of examples that are read in advance, to check that each image has one label.
_LOOKED_AT = 100


def few_shot(task: Task, examples_per_class: int, seed: int = 0) -> Task:
    """Returns the task with a subset of its training examples, equally many of each class.

    The choice depends only on the labels and the seed. A larger subset of the same seed contains
    the smaller ones. The chosen elements are held in memory.

    Args:
        task: the task.
        examples_per_class: training examples of each class, at least 1.
        seed: an integer; another seed chooses other examples.

    Raises:
        ValueError: a class has fewer training examples.
    """
    return dataclasses.replace(
        task, train=subset(task.train, few_shot_positions(task, examples_per_class, seed))
    )


def few_shot_positions(task: Task, examples_per_class: int, seed: int = 0) -> np.ndarray:
    """Returns the positions in the training set that `few_shot` chooses, in rising order.

    Arguments and errors are those of `few_shot`.
    """
    check_integer("examples_per_class", examples_per_class)
    labels = read_labels(task.train)
    chosen = []
    for label, class_name in enumerate(task.class_names):
        members = np.flatnonzero(labels == label)
        if len(members) < examples_per_class:
            raise ValueError(
                f"{task.name}: class {class_name!r} has {len(members)} training examples, but "
                f"examples_per_class={examples_per_class}. Ask for fewer examples, or add images "
                "to the class."
            )
        rng = np.random.default_rng([seed, _FEW_SHOT, label])
        chosen.extend(rng.permutation(members)[:examples_per_class])
    return np.sort(chosen)


def hold_out(
    task: Task, fraction: float, seed: int = 0, *, first_of_stream: bool = False
) -> tuple[Task, Examples]:
    """Returns the task without some of its training examples, and these held-out examples.

    They are drawn at random by position: no label is read, no image is decoded, and only a mask of
    the positions is held in memory. (The official code takes the last 1 or 2 % of the training
    split. In a folder, whose images come class by class, these would be the last classes.)

    Args:
        task: the task.
        fraction: the share of the training examples to hold out, above 0 and below 1; it is rounded
            to whole examples.
        seed: an integer; another seed holds out other examples.
        first_of_stream: if True, the first examples of a task with a `shuffle_buffer` are held out
            instead, because each evaluation would have to read the whole stream to find examples
            at random positions.

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
    held = np.zeros(total, bool)
    if first_of_stream and task.train.shuffle_buffer is not None:
        held[:count] = True
    else:
        rng = np.random.default_rng([seed, _HOLD_OUT])
        held[rng.choice(total, count, replace=False)] = True
    remaining = dataclasses.replace(task, train=where(task.train, ~held))
    return remaining, where(task.train, held)


def with_test_split(task: Task) -> Task:
    """Moves a tenth of the training examples of a task, at most 51 200, to its test split.

    The test split is always the same. It is the beginning of a task with a `shuffle_buffer`, and a
    random choice from any other task.

    Raises:
        ValueError: there are fewer than two examples.
    """
    total = task.num_examples
    if total < 2:
        raise ValueError(
            f"{task.name}: there are {total} images; expected at least two, because one of them is "
            "kept for the test. Add images."
        )
    count = max(1, min(_MAX_TEST, int(_TEST_FRACTION * total)))
    remaining, test = hold_out(task, count / total, first_of_stream=True)
    return dataclasses.replace(remaining, test=test)


def read_labels(examples: Examples) -> np.ndarray:
    """Returns the labels of examples in their order, int64 `[num_examples]`; decodes no image.

    The examples have one label each.
    """
    if examples.labels is not None:
        return examples.labels
    labels = examples.dataset().map(lambda example: example["label"])
    return np.fromiter(labels.as_numpy_iterator(), np.int64, examples.num_examples)


def subset(examples: Examples, chosen: np.ndarray) -> Examples:
    """Returns the examples at the given positions, held in memory but not decoded.

    Args:
        examples: the examples to choose from.
        chosen: at least one position in the fixed order; the positions rise.
    """
    mask = np.zeros(examples.num_examples, bool)
    mask[chosen] = True
    streamed = where(examples, mask)
    # The examples are held as the tensors of one tf.data batch, because a numpy array of bytes
    # would drop zero bytes at the end of an encoded image.
    held = streamed.elements().batch(len(chosen)).get_single_element()
    return dataclasses.replace(
        streamed,
        elements=lambda: tf.data.Dataset.from_tensor_slices(held),
        shuffle_buffer=None,
    )


def where(examples: Examples, mask: np.ndarray) -> Examples:
    """Returns the examples for which a mask is True; reading stops after the last one of them.

    Args:
        examples: the examples to choose from.
        mask: bool `[num_examples]`, in the fixed order; True at least once.
    """
    first, last = np.flatnonzero(mask)[[0, -1]]
    chosen = mask[first : last + 1]

    def elements() -> tf.data.Dataset:
        range_of_chosen = examples.elements().skip(first).take(len(chosen))
        if chosen.all():
            return range_of_chosen
        return (
            range_of_chosen.enumerate()
            .filter(lambda index, _: tf.gather(chosen, index))
            .map(lambda _, element: element)
        )

    return dataclasses.replace(
        examples,
        num_examples=int(mask.sum()),
        elements=elements,
        labels=None if examples.labels is None else examples.labels[mask],
    )


def one_label_each(task: Task, examples: Examples) -> Examples:
    """Converts labels of a multi-label task to scalars; each image must have exactly one label.

    Only examples with a `shuffle_buffer` are accepted, because the numbers of their labels are not
    known in advance. The first of them are checked here, and each one when it is read.

    Raises:
        ValueError: an image has no label or several.
    """
    counts = {1}
    if examples.shuffle_buffer is not None:
        some = examples.dataset().take(_LOOKED_AT)
        counts = {len(example["label"]) for example in some.as_numpy_iterator()}
    if examples.shuffle_buffer is None or counts != {1}:
        raise ValueError(
            f"{task.name} has images with several labels or with none, but the loss 'softmax' "
            "needs one label for each image. Choose loss='sigmoid' (--loss=sigmoid) or the recipe "
            "'BiT-M' (--recipe=BiT-M)."
        )

    def read(element: Any) -> dict[str, tf.Tensor]:
        example = examples.read(element)
        count = tf.size(example["label"])
        is_one = tf.debugging.Assert(
            tf.equal(count, 1),
            ["the loss 'softmax' needs one label for each image, but the image has", count],
        )
        with tf.control_dependencies([is_one]):
            return {**example, "label": tf.reshape(example["label"], [])}

    return dataclasses.replace(examples, read=read)

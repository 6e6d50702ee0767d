"""Subsets: balanced, seeded, chosen from the labels alone."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from array_tasks import array_examples, array_task

from bit_keras.data import pipeline, subsets
from bit_keras.data.tasks import task
from bit_keras.hyperrule import HyperRule

RULE = HyperRule.for_task(12, (8, 8)).scaled(batch_size=4, steps=10, resize=8, crop=8)


def test_few_shot_is_balanced_and_seeded():
    digits = task("digits")
    chosen = [subsets.few_shot(digits, count, seed=0).train for count in (1, 5)]
    for count, examples in zip((1, 5), chosen, strict=True):
        assert examples.num_examples == 10 * count
        np.testing.assert_array_equal(np.bincount(examples.labels), [count] * 10)

    def keys(examples):
        return {example["image"].tobytes() for example in examples.dataset().as_numpy_iterator()}

    assert keys(chosen[0]) < keys(chosen[1]) < keys(digits.train)
    assert keys(subsets.few_shot(digits, 5, seed=0).train) == keys(chosen[1])
    assert keys(subsets.few_shot(digits, 5, seed=1).train) != keys(chosen[1])
    assert subsets.few_shot(digits, 5).test is digits.test


@pytest.mark.parametrize("known", [True, False])
def test_few_shot_keeps_image_and_label_together(known):
    images = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones([8, 8, 3], np.uint8)
    labels = np.arange(12) % 3
    task = array_task(images, labels)
    task = dataclasses.replace(task, train=array_examples(images, labels, known))
    subset = subsets.few_shot(task, 2, seed=5)
    assert subset.num_examples == 6
    for images, labels in pipeline.train_batches(subset, RULE).as_numpy_iterator():
        np.testing.assert_array_equal(
            np.round(images[:, 0, 0, 0] * 127.5 + 127.5) % 3, labels.argmax(axis=1)
        )


def test_few_shot_keeps_the_last_bytes_of_an_image():
    encoded = np.array([b"one\0", b"two\0\0"], object)
    two = array_task(np.zeros([2, 8, 8, 3], np.uint8))
    two = dataclasses.replace(two, train=array_examples(encoded, [0, 1]))
    examples = subsets.few_shot(two, 1).train.dataset().as_numpy_iterator()
    assert [example["image"] for example in examples] == list(encoded)


def test_few_shot_of_too_few():
    small = array_task(np.zeros([4, 8, 8, 3], np.uint8), [0, 0, 0, 1])
    with pytest.raises(ValueError, match=r"class 'class 1' has 1 training examples"):
        subsets.few_shot(small, 2)
    with pytest.raises(
        ValueError, match="examples_per_class must be an integer of at least 1, got 0"
    ):
        subsets.few_shot(small, 0)


def values(examples):
    """The first pixel of each image, which tells it."""
    return [int(example["image"][0, 0, 0]) for example in examples.dataset().as_numpy_iterator()]


def numbered(count, known=True):
    """A task of images that say which they are, with the label that belongs to each."""
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones([8, 8, 3], np.uint8)
    labels = np.arange(count) % 3
    task = array_task(images, labels)
    return dataclasses.replace(task, train=array_examples(images, labels, known))


@pytest.mark.parametrize("known", [True, False])
def test_hold_out_parts_the_training_examples(known):
    whole = numbered(100, known)
    task, held = subsets.hold_out(whole, 0.2, seed=3)
    assert (task.num_examples, held.num_examples) == (80, 20)
    kept, out = values(task.train), values(held)
    assert sorted(kept + out) == list(range(100))
    assert kept == sorted(kept)  # in the fixed order
    assert out == sorted(out)
    for examples, found in ((task.train, kept), (held, out)):
        np.testing.assert_array_equal(subsets.read_labels(examples), np.array(found) % 3)
    assert task.test is whole.test
    # Not one end of the split, where the last classes of a folder would be.
    assert min(out) < 50 < max(out)
    assert values(subsets.hold_out(whole, 0.2, seed=3)[1]) == out
    assert values(subsets.hold_out(whole, 0.2, seed=4)[1]) != out


def test_few_shots_are_chosen_among_what_is_not_held_out():
    task, held = subsets.hold_out(numbered(30), 0.3, seed=1)
    few = values(subsets.few_shot(task, 4, seed=1).train)
    assert len(few) == 12
    assert set(few) <= set(values(task.train))
    assert not set(few) & set(values(held))


def test_hold_out_streams():
    def unread(*_):
        raise AssertionError("the examples were read")

    numbers = dataclasses.replace(
        numbered(10).train,
        num_examples=1_300_000,
        labels=None,
        shuffle_buffer=50,
        elements=unread,
        read=unread,
    )
    task, held = subsets.hold_out(dataclasses.replace(numbered(10), train=numbers), 0.01)
    assert (task.num_examples, held.num_examples) == (1_287_000, 13_000)
    assert task.train.shuffle_buffer == 50

    def first_thousand(number):
        tf.debugging.assert_less(number, tf.constant(1000, tf.int64))
        return number

    numbers = dataclasses.replace(
        numbers, elements=lambda: tf.data.Dataset.range(1_300_000).map(first_thousand)
    )
    _, held = subsets.hold_out(dataclasses.replace(numbered(10), train=numbers), 0.5)
    assert len(list(held.elements().take(100))) == 100


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_hold_out_of_no_fraction(fraction):
    with pytest.raises(ValueError, match="held_out must be above 0 and below 1"):
        subsets.hold_out(numbered(12), fraction)


@pytest.mark.parametrize(("fraction", "count"), [(0.04, 0), (0.96, 12)])
def test_hold_out_leaves_no_part_empty(fraction, count):
    message = f"arrays: held_out={fraction} of 12 training examples is {count} of them"
    with pytest.raises(ValueError, match=message):
        subsets.hold_out(numbered(12), fraction)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, 3])
def test_few_shot_positions_are_those_of_the_chosen_images(known, count, seed):
    labels = np.arange(12) % 3
    images = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones([8, 8, 3], np.uint8)
    task = array_task(images, labels)
    task = dataclasses.replace(task, train=array_examples(images, labels, known))
    chosen = subsets.few_shot(task, count, seed).train.dataset().as_numpy_iterator()
    positions = subsets.few_shot_positions(task, count, seed)
    assert [example["image"][0, 0, 0] for example in chosen] == positions.tolist()


def test_hold_out_of_a_task_in_memory():
    task = array_task(np.zeros((10, 4, 4, 3), "uint8"))
    remaining, held = subsets.hold_out(task, 0.3, seed=0, first_of_stream=True)
    assert (remaining.num_examples, held.num_examples) == (7, 3)

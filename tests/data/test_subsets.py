"""Subsets: balanced, seeded, chosen from the labels alone."""

import dataclasses

import numpy as np
import pytest
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
    with pytest.raises(ValueError, match="examples_per_class must be at least 1, got 0"):
        subsets.few_shot(small, 0)

"""Which images a few-shot probe is fitted to."""

import dataclasses

import numpy as np
import pytest
from array_tasks import array_examples, array_task

from bit_keras.data import subsets
from bit_keras.studies.fewshot_probe import few_shot_positions


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, 3])
def test_they_are_the_images_that_fine_tuning_trains_on(known, count, seed):
    labels = np.arange(12) % 3
    images = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones([8, 8, 3], np.uint8)
    task = array_task(images, labels)
    task = dataclasses.replace(task, train=array_examples(images, labels, known))
    trained_on = subsets.few_shot(task, count, seed).train.dataset().as_numpy_iterator()
    positions = few_shot_positions(task, labels, count, seed)
    assert [example["image"][0, 0, 0] for example in trained_on] == positions.tolist()

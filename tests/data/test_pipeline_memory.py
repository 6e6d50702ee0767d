"""The pipeline holds a few batches and never the dataset: counted by what it reads.

tests/benchmarks/pipeline_memory.py measures bytes, on gigabytes of JPEGs.
"""

import itertools
import os
import time

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data import pipeline
from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task
from bit_keras.hyperrule import HyperRule

# Of small batches TensorFlow makes up to 16 at once, so that a slow image keeps no core waiting
# (map_and_batch_dataset_op.cc): their memory is no matter.
BATCH_SIZE, SHUFFLE_BUFFER = 128, 10


class Source:
    """Examples that count how often one of them is read."""

    def __init__(self, count):
        self.reads = 0
        self.examples = Examples(
            num_examples=count,
            elements=lambda: tf.data.Dataset.from_generator(
                self._elements, output_signature=tf.TensorSpec([], tf.int64)
            ),
            read=lambda label: {"image": tf.zeros([8, 8, 3], tf.uint8), "label": label},
            shuffle_buffer=SHUFFLE_BUFFER,
        )

    def _elements(self):
        for _ in range(self.examples.num_examples):
            self.reads += 1
            yield np.int64(0)

    def settled_reads(self):
        """The reads, once nothing was read for half a second."""
        before = None
        while before != self.reads:
            before = self.reads
            time.sleep(0.5)
        return before


def batches_of(kind, source, steps, mixup_alpha=0.1):
    task = Task("counted", ("a", "b"), (8, 8), source.examples, source.examples)
    if kind == "test":
        return pipeline.test_batches(task, made_rule(steps, mixup_alpha).crop, BATCH_SIZE)
    return pipeline.train_batches(task, made_rule(steps, mixup_alpha))


def made_rule(steps, mixup_alpha):
    return HyperRule(
        resize=8,
        crop=8,
        steps=steps,
        boundaries=(0, 0, 0),
        warmup_steps=0,
        base_lr=0.003,
        batch_size=BATCH_SIZE,
        momentum=0.9,
        mixup_alpha=mixup_alpha,
    )


@pytest.mark.parametrize(("kind", "mixup_alpha"), [("train", 0.1), ("train", 0.0), ("test", 0.0)])
def test_a_batch_reads_a_few_batches_ahead(kind, mixup_alpha):
    """Of a set of a hundred batches."""
    source = Source(100 * BATCH_SIZE)
    iterator = iter(batches_of(kind, source, 100, mixup_alpha))
    next(iterator)
    # One ahead, two being made and, with mixup, one to be mixed; and what waits for its place.
    ahead = (4 if mixup_alpha else 3) * BATCH_SIZE + SHUFFLE_BUFFER + 2 * os.cpu_count()
    assert BATCH_SIZE <= source.settled_reads() <= BATCH_SIZE + ahead
    for _ in itertools.islice(iterator, 20):
        pass
    assert source.settled_reads() <= 21 * BATCH_SIZE + ahead


def test_each_epoch_reads_the_training_set_again():
    """A cache would not."""
    source = Source(10 * BATCH_SIZE)
    for _ in batches_of("train", source, 3 * 10):
        pass
    assert source.reads >= 3 * 10 * BATCH_SIZE


def test_each_pass_reads_the_test_split_again():
    source = Source(10 * BATCH_SIZE)
    batches = batches_of("test", source, 1)
    for _ in range(2):
        assert len(list(batches)) == 10
    assert source.reads == 2 * 10 * BATCH_SIZE

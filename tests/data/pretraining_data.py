"""Data to pre-train on: small images of one grey value, with several labels or one."""

import dataclasses
import io

import numpy as np
from PIL import Image

from bit_keras.data import pipeline
from bit_keras.data.subsets import hold_out
from bit_keras.data.transforms import inception_view
from bit_keras.training.recipes import RECIPES

RULE = RECIPES["small"].rule(20, steps=3, warmup_steps=0, batch_size=8, crop=8)

# The image of number i has the grey value i and the labels LABELS[i % 5].
LABELS = [(0,), (0, 2), (), (1, 2), (2,)]


def grey_png(value):
    stream = io.BytesIO()
    Image.fromarray(np.full((6, 9, 3), value, "uint8")).save(stream, "png")
    return stream.getvalue()


def contents(task):
    """Pixel value and set of labels of each test and training image, by way of the pipeline."""
    found = []
    for examples in (task.test, task.train):
        variant = dataclasses.replace(task, test=examples)
        of_split = []
        for images, labels in pipeline.test_batches(variant, RULE.crop, 4).as_numpy_iterator():
            assert labels.shape[1] == task.num_classes
            for image, label in zip(images, labels, strict=True):
                assert set(label) <= {0, 1}
                value = round(float(image.mean()) * 127.5 + 127.5)
                of_split.append((value, tuple(np.flatnonzero(label))))
        assert len(of_split) == examples.num_examples
        found.append(of_split)
    return found


def assert_all_there(task, name):
    assert task.name == name
    assert task.several_labels
    test, train = contents(task)
    assert len(test) == 2
    assert sorted(test + train) == sorted((i, LABELS[i % 5]) for i in range(20))
    batches = list(pipeline.train_batches(task, RULE, view=inception_view(8)).as_numpy_iterator())
    assert [labels.shape for _, labels in batches] == [(8, 3)] * 3
    held, validation = hold_out(task, 0.2, seed=1, first_of_stream=True)
    assert (held.num_examples, validation.num_examples) == (14, 4)
    parts = contents(dataclasses.replace(held, test=validation))
    assert sorted(parts[0] + parts[1]) == sorted(train)

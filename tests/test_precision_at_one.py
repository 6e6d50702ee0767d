"""Whether the most probable class is one of the labels."""

import numpy as np

from bit_keras import precision_at_one


def test_it_is_right_where_the_first_class_is_a_label():
    labels = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 0, 1]], "float32")
    logits = np.array([[0, 1, 2], [1, 2, 0], [3, 0, 0], [5, 4, 3]], "float32")
    np.testing.assert_array_equal(precision_at_one(labels, logits), [1, 0, 0, 1])


def test_with_one_label_it_is_the_accuracy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 4)).astype("float32")
    classes = rng.integers(0, 4, 50)
    found = precision_at_one(np.eye(4, dtype="float32")[classes], logits)
    np.testing.assert_array_equal(found, logits.argmax(1) == classes)

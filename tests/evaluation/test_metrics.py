"""The metric for images with several labels."""

import numpy as np

from bit_keras.evaluation.metrics import precision_at_one


def test_an_image_is_right_if_its_most_probable_class_is_one_of_its_labels():
    labels = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 0, 1]], "float32")
    logits = np.array([[0, 1, 2], [1, 2, 0], [3, 0, 0], [5, 4, 3]], "float32")
    np.testing.assert_array_equal(precision_at_one(labels, logits), [1, 0, 0, 1])


def test_with_one_label_the_metric_is_the_accuracy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 4)).astype("float32")
    classes = rng.integers(0, 4, 50)
    found = precision_at_one(np.eye(4, dtype="float32")[classes], logits)
    np.testing.assert_array_equal(found, logits.argmax(1) == classes)

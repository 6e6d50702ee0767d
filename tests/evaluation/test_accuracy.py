"""Accuracy and loss over a whole split."""

import numpy as np
import pytest
from networks import randomize, tiny

import bit_keras
from bit_keras.evaluation.accuracy import Predictions


def test_metrics_by_hand():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.5, 0.25, 0.25]], "float32"))
    metrics = Predictions(logits, np.array([0, 1, 0])).metrics()
    assert metrics["test_accuracy"] == pytest.approx(2 / 3)
    assert metrics["test_loss"] == pytest.approx(-np.log([0.7, 0.1, 0.5]).mean(), rel=1e-6)
    assert metrics["num_test_examples"] == 3


def test_large_logits_do_not_overflow():
    metrics = Predictions(np.float32([[1e4, 0], [0, 1e4]]), np.array([0, 0])).metrics()
    assert metrics["test_loss"] == pytest.approx(5000)


def test_every_example_counts_once_at_the_rules_resolution():
    task = bit_keras.task("digits")
    rule = bit_keras.HyperRule.for_task(task.num_examples, task.image_size).scaled(
        resize=32, crop=32
    )
    metrics = bit_keras.evaluate(randomize(tiny()), task, rule)
    assert metrics["num_test_examples"] == 360
    assert metrics["test_accuracy"] * 360 == pytest.approx(round(metrics["test_accuracy"] * 360))


def test_the_wrong_number_of_classes():
    with pytest.raises(ValueError, match="Build it with classes=10"):
        bit_keras.evaluate(tiny(classes=4), bit_keras.task("digits"))

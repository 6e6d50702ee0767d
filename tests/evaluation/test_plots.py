"""The pictures of a run, checked by the colours of their pixels."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.data import subsets
from bit_keras.evaluation import plots
from bit_keras.evaluation.plots import plot_learning_curve, plot_predictions
from bit_keras.evaluation.predictions import Predictions

CROP = 16


def colours(path, colour):
    """Returns the number of pixels near a colour."""
    pixels = tf.io.decode_png(path.read_bytes(), channels=3).numpy().astype(int)
    return int((np.abs(pixels - colour).max(-1) < 40).sum())


@pytest.mark.parametrize("right", [True, False])
def test_wrong_predictions_are_red(right, tmp_path):
    task = bit_keras.task("digits")
    names = tuple(f"class \\mathrm{{x}} $x^$ \u65e5 {k} of a very long name" for k in range(10))
    task = dataclasses.replace(task, class_names=names)
    labels = (task.test.labels + (not right)) % 10
    predictions = Predictions(np.eye(10, dtype="float32")[labels], task.test.labels)
    plot_predictions(predictions, task, CROP, tmp_path / "picture.png")
    green, red = (colours(tmp_path / "picture.png", c) for c in ((26, 127, 55), (207, 34, 46)))
    assert (green > 100) is right
    assert (red > 100) is not right


def test_some_of_the_mistakes_are_shown(tmp_path):
    task = bit_keras.task("digits")
    logits = np.eye(10, dtype="float32")[task.test.labels]
    logits[123] = np.roll(logits[123], 1)
    plot_predictions(Predictions(logits, task.test.labels), task, CROP, tmp_path / "picture.png")
    assert colours(tmp_path / "picture.png", (207, 34, 46)) > 20


@pytest.mark.parametrize("count", [1, 3, 9])
def test_a_picture_of_few_test_images(count, tmp_path):
    task = bit_keras.task("digits")
    few = dataclasses.replace(task, test=subsets.subset(task.test, np.arange(count)))
    logits = np.zeros((count, 10), "float32")
    plot_predictions(Predictions(logits, few.test.labels), few, CROP, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_a_line_of_many_points_is_smoothed():
    noisy = np.linspace(0, 1, 100) + np.tile([0.2, -0.2], 50)
    smooth = plots.smoothed(noisy)
    assert np.abs(smooth - np.linspace(0, 1, 100)).max() < 0.07
    np.testing.assert_allclose(plots.smoothed([3.0] * 20), 3.0)
    assert plots.smoothed([1.0]).tolist() == [1.0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("points", [1, 100])
def test_a_curve_of_few_or_many_points(points, tmp_path):
    history = {
        "step": list(range(1, points + 1)),
        "loss": list(np.geomspace(2, 0.01, points)),
        "accuracy": list(np.linspace(0.1, 1, points)),
        "learning_rate": [0.03] * points,
    }
    plot_learning_curve(history, 0.9, "a title", tmp_path / "curve.png")
    assert colours(tmp_path / "curve.png", (255, 127, 14)) > 50

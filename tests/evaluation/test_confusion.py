"""The confusion matrix, compared with scikit-learn's, and its picture."""

from collections import Counter

import numpy as np
import pytest
import sklearn.metrics

from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task
from bit_keras.evaluation.confusion import (
    confusion_matrix,
    most_frequent_confusions,
    plot_confusion_matrix,
)
from bit_keras.evaluation.predictions import Predictions


def predictions_of(labels, predicted, classes):
    return Predictions(np.eye(classes, dtype="float32")[predicted], np.asarray(labels))


NONE = Examples(0, elements=None, read=None)


def some_predictions(classes, count=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    predicted = np.where(rng.random(count) < 0.5, labels, rng.integers(0, classes, count))
    return predictions_of(labels, predicted, classes)


def task_of(classes):
    names = tuple(f"$x^{k} \\mathrm{{ {chr(65 + k % 26)} }}" for k in range(classes))
    return Task("some task", names, (8, 8), train=NONE, test=NONE)


@pytest.fixture
def figure(monkeypatch, tmp_path):
    """`figure(predictions, classes)` draws the picture, saves it and returns the figure."""
    from bit_keras.evaluation import confusion

    figures = []
    save = confusion.save_figure

    def keep(drawn, path):
        save(drawn, path)
        figures.append(drawn)

    def draw(predictions, classes):
        plot_confusion_matrix(predictions, task_of(classes), tmp_path / "matrix.png")
        assert (tmp_path / "matrix.png").stat().st_size > 5000
        return figures[-1]

    monkeypatch.setattr(confusion, "save_figure", keep)
    return draw


def test_the_matrix_is_that_of_scikit_learn():
    predictions = some_predictions(12)
    expected = sklearn.metrics.confusion_matrix(predictions.labels, predictions.predicted)
    np.testing.assert_array_equal(confusion_matrix(predictions), expected)


def test_neighbouring_classes_are_counted_in_groups():
    predictions = some_predictions(10)
    matrix = np.pad(confusion_matrix(predictions), (0, 2))
    expected = matrix.reshape(3, 4, 3, 4).sum(axis=(1, 3))
    np.testing.assert_array_equal(confusion_matrix(predictions, group=4), expected)


def test_the_most_frequent_confusions():
    predictions = some_predictions(6, count=500)
    pairs = zip(predictions.labels.tolist(), predictions.predicted.tolist(), strict=True)
    counted = Counter(pair for pair in pairs if pair[0] != pair[1])
    found = most_frequent_confusions(predictions, 7)
    assert [c.count for c in found] == [count for _, count in counted.most_common(7)]
    assert all(counted[c.truth, c.predicted] == c.count for c in found)
    assert len(most_frequent_confusions(predictions, 100)) == len(counted) == 30


def test_without_mistakes_there_are_no_confusions():
    assert most_frequent_confusions(predictions_of([0, 1], [0, 1], 2), 5) == []


def test_a_row_is_the_truth_and_sums_to_a_hundred_percent(figure):
    # Of four images of class 0 three are taken for class 2; there is none of class 1.
    drawn = figure(predictions_of([0, 0, 0, 0, 2], [2, 2, 2, 0, 2], 3), 3)
    axes, colour_bar = drawn.axes
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(shown.filled(-1), [[25, 0, 75], [-1, -1, -1], [0, 0, 100]])
    counts = {(text.get_position(), text.get_text()) for text in axes.texts}
    assert counts == {((0, 0), "1"), ((2, 0), "3"), ((2, 2), "1")}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert "no test images" in colour_bar.get_ylabel()
    assert "2 of 5 test images right" in drawn.get_suptitle()


@pytest.mark.parametrize(
    ("classes", "has_counts", "has_names", "rows"),
    [
        (2, True, True, 2),
        (15, True, True, 15),
        (16, False, True, 16),
        (40, False, True, 40),
        (41, False, False, 41),
        (1000, False, False, 1000),
        (1001, False, False, 501),
    ],
)
def test_counts_and_names_are_shown_as_far_as_they_fit(
    classes, has_counts, has_names, rows, figure
):
    axes, *others = figure(some_predictions(classes), classes).axes
    assert bool(axes.texts) is has_counts
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert any("mathrm" in name for name in names) is has_names
    assert axes.images[0].get_array().shape == (rows, rows)
    (listed,) = [text.get_text() for other in others for text in other.texts] or [""]
    assert (listed.count("→") == 20) is not has_counts


def test_a_list_without_confusions_says_so(figure):
    right = np.arange(20)
    *_, beside, _ = figure(predictions_of(right, right, 20), 20).axes
    assert [text.get_text() for text in beside.texts] == ["none"]

"""The picture of the worst mistakes."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from array_tasks import array_task

from bit_keras.evaluation import plots
from bit_keras.evaluation.predictions import Predictions

CROP = 16


def task_of_greys(count):
    """A task of grey images; image i has level i and class i % 2."""
    images = np.broadcast_to(np.arange(count, dtype="uint8")[:, None, None, None], (count, 8, 8, 3))
    return array_task(np.ascontiguousarray(images), np.arange(count) % 2)


def with_mistakes(task, margins):
    """Predictions that are right, except for the keys of `margins`: the logit margin of each."""
    labels = task.test.labels
    logits = np.eye(2, dtype="float32")[labels]
    for index, margin in margins.items():
        logits[index, 1 - labels[index]] = 1 + margin
    return Predictions(logits, labels)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """`drawn(predictions, task)` draws the picture; returns images, captions and title."""
    calls = []
    plot = plots.plot_images

    def keep(images, captions, columns, title, path):
        plot(images, captions, columns, title, path)
        calls.append((images, captions, title))

    def draw(predictions, task):
        plots.plot_worst_mistakes(predictions, task, CROP, tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 1000
        return calls[-1]

    monkeypatch.setattr(plots, "plot_images", keep)
    return draw


def test_the_mistake_of_the_highest_probability_comes_first():
    predictions = with_mistakes(task_of_greys(20), {3: 0.5, 17: 4, 8: 2, 11: 30, 5: 36})
    assert plots.find_worst_mistakes(predictions).tolist() == [5, 11, 17, 8, 3]


def test_images_and_captions_belong_together(drawn):
    task = task_of_greys(20)
    images, captions, title = drawn(with_mistakes(task, {3: 1, 17: 4, 8: 2}), task)
    np.testing.assert_allclose(images[:, 0, 0, 0] * 255, [17, 8, 3], atol=1e-3)
    # The probability of a margin of 4 nats between two classes is 1 / (1 + exp(-4)).
    assert [caption.text for caption in captions] == [
        "class 0\n98.2%\nis class 1",
        "class 1\n88.1%\nis class 0",
        "class 0\n73.1%\nis class 1",
    ]
    assert "3 mistakes in 20 test images\n" in title


@pytest.mark.parametrize("count", [1, 32, 33])
def test_at_most_32_mistakes_are_shown(count, drawn):
    task = task_of_greys(40)
    images, _, title = drawn(with_mistakes(task, dict.fromkeys(range(count), 1)), task)
    assert len(images) == min(count, 32)
    assert {1: "1 mistake in", 32: "32 mistakes", 33: "the worst 32"}[count] in title


def test_a_model_without_mistakes_gets_a_picture_that_says_so(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, _: figures.append(figure))
    task = task_of_greys(5)
    plots.plot_worst_mistakes(with_mistakes(task, {}), task, CROP, tmp_path / "picture.png")
    (text,) = figures[0].texts
    assert "no mistakes, all 5 test images are right" in text.get_text()


def test_only_images_that_are_shown_are_read(drawn):
    task = task_of_greys(20)
    seen = []

    def note(image):
        seen.append(int(image[0, 0, 0]))

    def read(element):
        with tf.control_dependencies([tf.py_function(note, [element["image"]], [])]):
            return {name: tf.identity(value) for name, value in element.items()}

    watched = dataclasses.replace(task, test=dataclasses.replace(task.test, read=read))
    drawn(with_mistakes(task, {3: 1, 17: 4}), watched)
    assert sorted(seen) == [3, 17]

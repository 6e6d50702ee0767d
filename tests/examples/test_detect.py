"""The example of a detector: its scenes, its measure, and what it reaches."""

import keras
import numpy as np
import pytest
from networks import tiny

import bit_keras


@pytest.fixture
def detect(example):
    return example("detect")


def objects(truth, scene):
    """The digits of a scene as (x, y, width, height, class), without the padding."""
    boxes, classes = truth["boxes"][scene], truth["classes"][scene]
    assert ((boxes == -1).all(axis=1) == (classes == -1)).all()
    return np.column_stack([boxes, classes])[classes >= 0].astype(int)


# Scenes


def test_boxes_are_where_the_digits_were_written(detect):
    # Squares instead of digits, whose grey level says their class.
    grey = np.arange(100, 200, 10, dtype="uint8")
    squares = np.tile(grey[:, np.newaxis, np.newaxis], (1, 8, 8))
    scenes, truth = detect.compose(squares, np.arange(10), 50, seed=0)
    assert scenes.shape == (50, detect.SIDE, detect.SIDE, 3)
    numbers = []
    for i, scene in enumerate(scenes):
        expected = np.zeros_like(scene)
        for x, y, width, height, label in objects(truth, i):
            assert width == height
            assert detect.SIZES[0] <= width <= detect.SIZES[1]
            assert x >= 0
            assert y >= 0
            assert not expected[y : y + height, x : x + width].any()  # none over another
            expected[y : y + height, x : x + width] = grey[label]
        np.testing.assert_array_equal(scene, expected)
        numbers.append(len(objects(truth, i)))
    assert min(numbers) == 1
    assert max(numbers) == detect.MOST
    assert set(truth["classes"].ravel()) == {-1, *range(10)}


def test_boxes_are_tight(detect):
    inks, labels = detect.digits(bit_keras.task("digits").train)
    scenes, truth = detect.compose(inks, labels, 50, seed=0)
    for i, scene in enumerate(scenes):
        written = scene[..., 0] >= detect.INK
        left_over = written.copy()
        for x, y, width, height, _ in objects(truth, i):
            box = written[y : y + height, x : x + width]
            for side in (box[0], box[-1], box[:, 0], box[:, -1]):
                assert side.any()
            left_over[y : y + height, x : x + width] = False
        assert not left_over.any()


def test_scenes_are_of_their_seed(detect):
    inks, labels = detect.digits(bit_keras.task("digits").test)
    first, again, other = (detect.compose(inks, labels, 3, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_no_digit_is_both_trained_and_tested_on(detect):
    task = bit_keras.task("digits")
    (train, train_labels), (test, _) = detect.digits(task.train), detect.digits(task.test)
    assert len(train) == len(train_labels) == 1437
    assert len(test) == 360
    assert not {ink.tobytes() for ink in train} & {ink.tobytes() for ink in test}
    batch = detect.Scenes(train, train_labels, steps=3)
    assert len(batch) == 3
    scenes, truth = batch[2]
    expected, labels = detect.compose(train, train_labels, 8, seed=2)
    np.testing.assert_allclose(scenes, expected / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(truth["boxes"], labels["boxes"])


# Mean average precision, by hand


def measure(detect, truth, found):
    """Of lists of (image, class, confidence, box), for two images."""

    def batch(rows):
        boxes = np.full((2, 4, 4), -1.0)
        classes, confidence = np.full((2, 2, 4), -1.0)
        for i, (image, label, sure, box) in enumerate(rows):
            boxes[image, i], classes[image, i], confidence[image, i] = box, label, sure
        return {"boxes": boxes, "classes": classes, "confidence": confidence}

    truth = batch(truth)
    del truth["confidence"]
    return detect.average_precision(truth, batch(found))


A, B, FAR = (10, 10, 20, 30), (50, 40, 30, 20), (0, 70, 10, 10)
TRUTH = [(0, 3, 1, A), (1, 3, 1, B)]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(0, 3, 0.9, A), (1, 3, 0.8, B)], 1),
        # COCO looks at 101 recalls, 0 to 1: half of the objects reach 51 of them.
        ([(0, 3, 0.9, A)], 51 / 101),
        ([(0, 4, 0.9, A), (1, 3, 0.8, B)], 51 / 101),  # another class
        ([(0, 3, 0.9, A), (0, 3, 0.8, B)], 51 / 101),  # another image
        # Overlaps of 0.6 and 0.4: 12 and 8 of the 20 columns.
        ([(0, 3, 0.9, (10, 10, 12, 30)), (1, 3, 0.8, B)], 1),
        ([(0, 3, 0.9, (10, 10, 8, 30)), (1, 3, 0.8, B)], 51 / 101 / 2),  # 1 of the 2 is right
        # A wrong one that is surest: 1 of 2, then 2 of 3 are right, and the better counts.
        ([(0, 3, 0.7, A), (1, 3, 0.8, B), (0, 3, 0.9, FAR)], 2 / 3),
        ([(0, 3, 0.7, A), (1, 3, 0.8, B), (0, 3, 0.6, FAR)], 1),  # and one that is not
        ([(0, 3, 0.9, FAR)], 0),
    ],
)
def test_average_precision_by_hand(found, expected, detect):
    assert measure(detect, TRUTH, found) == pytest.approx(expected, abs=1e-6)


def test_average_precision_is_the_mean_over_the_classes_that_are_there(detect):
    truth = [(0, 3, 1, A), (0, 5, 1, B), (1, 3, 1, B)]
    found = [(0, 3, 0.9, A), (1, 3, 0.8, B), (0, 7, 0.9, FAR)]
    assert measure(detect, truth, found) == pytest.approx(1 / 2, abs=1e-6)


# The program


@pytest.mark.slow
def test_the_program_trains_and_draws(example, check_picture, capsys):
    example("detect", "--steps=2", "--scenes=12").main([])
    printed = capsys.readouterr().out
    assert "box_loss" in printed  # the progress bar
    assert 0 <= float(printed.split("overlap of 0.5: ")[1].split("%")[0]) <= 100
    check_picture("detect")


@pytest.mark.slow
def test_the_program_trains_a_models_body_and_no_head(example, check_picture, monkeypatch):
    tiny().save("some.keras")
    module = example("detect", "--model=some.keras", "--steps=1", "--scenes=12")
    loaded = keras.models.load_model("some.keras")
    monkeypatch.setattr(keras.models, "load_model", {"some.keras": loaded}.__getitem__)
    before = [weight.numpy() for weight in loaded.weights]
    module.main([])
    check_picture("detect")
    for old, weight in zip(before, loaded.weights, strict=True):
        assert (weight.numpy() != old).any() == ("head" not in weight.path), weight.path


@pytest.mark.slow
def test_the_program_finds_digits(example, capsys):
    example("detect").main([])
    printed = capsys.readouterr().out
    assert float(printed.split("overlap of 0.5: ")[1].split("%")[0]) >= 70, printed

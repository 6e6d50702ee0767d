"""The stream of batches: what is in it, and that one seed decides all of it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from array_tasks import array_examples, array_task
from data.bilinear import bilinear

from bit_keras.data import pipeline
from bit_keras.data.tasks import task
from bit_keras.hyperrule import HyperRule

RULE = HyperRule(
    resize=8,
    crop=8,
    steps=10,
    boundaries=(3, 6, 9),
    warmup_steps=0,
    base_lr=0.003,
    batch_size=4,
    momentum=0.9,
    mixup_alpha=0.0,
)


def numbered_task(count, **kwargs):
    """A task whose image i has the value i everywhere and the label i."""
    images = (
        np.ones([count, 8, 8, 3], np.uint8) * np.arange(count, dtype=np.uint8)[:, None, None, None]
    )
    return array_task(images, **kwargs)


def noise_task(count, **kwargs):
    images = np.random.default_rng(0).integers(0, 256, [count, 12, 10, 3], np.uint8)
    return array_task(images, **kwargs)


def collect(batches):
    return [tuple(batch) for batch in batches.as_numpy_iterator()]


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def pixels(images):
    return np.round(images * 127.5 + 127.5)


def test_a_batch():
    batches = pipeline.train_batches(noise_task(6), RULE)
    assert len(batches) == RULE.steps
    for images, labels in collect(batches):
        assert images.shape == (4, 8, 8, 3)
        assert labels.shape == (4, 6)
        assert images.dtype == labels.dtype == np.float32
        assert -1 <= images.min() < -0.5 < 0.5 < images.max() <= 1
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("count", [3, 10])
def test_every_epoch_is_another_permutation(count):
    """Of 3 examples a batch holds more than one epoch."""
    batches = collect(pipeline.train_batches(numbered_task(count), RULE))
    labels = np.concatenate([labels.argmax(axis=1) for _, labels in batches])
    values = np.concatenate([pixels(images)[:, 0, 0, 0] for images, _ in batches])
    np.testing.assert_array_equal(values, labels)
    epochs = labels[: len(labels) // count * count].reshape(-1, count)
    np.testing.assert_array_equal(np.sort(epochs), np.broadcast_to(np.arange(count), epochs.shape))
    assert len(set(map(tuple, epochs))) > len(epochs) // 3


def test_a_shuffle_buffer_smaller_than_the_epoch():
    task = numbered_task(10)
    task = dataclasses.replace(task, train=dataclasses.replace(task.train, shuffle_buffer=2))
    labels = [labels.argmax(axis=1) for _, labels in collect(pipeline.train_batches(task, RULE))]
    np.testing.assert_array_equal(np.sort(np.concatenate(labels)[:10]), np.arange(10))


@pytest.mark.parametrize("mixup_alpha", [0.0, 0.1])
def test_the_seed_decides(mixup_alpha):
    rule = dataclasses.replace(RULE, resize=10, mixup_alpha=mixup_alpha)
    task = noise_task(6)
    tf.random.set_seed(1)
    first = collect(pipeline.train_batches(task, rule, seed=3))
    tf.random.set_seed(2)
    assert_same(first, collect(pipeline.train_batches(task, rule, seed=3)))
    other = collect(pipeline.train_batches(task, rule, seed=4))
    assert not any(np.array_equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("start_step", [1, 3, 5, 9, 10])
def test_a_stream_starts_at_any_step(start_step):
    """With 10 examples and batches of 4, step 3 lies in the second epoch, 5 begins the third."""
    rule = dataclasses.replace(RULE, resize=10, mixup_alpha=0.1)
    task = noise_task(10)
    whole = collect(pipeline.train_batches(task, rule, seed=3))
    tail = pipeline.train_batches(task, rule, seed=3, start_step=start_step)
    assert len(tail) == rule.steps - start_step
    assert_same(whole[start_step:], collect(tail))


@pytest.mark.parametrize("start_step", [-1, 11])
def test_a_start_outside_the_run(start_step):
    with pytest.raises(ValueError, match=f"from 0 to 10, the number of .*, got {start_step}"):
        pipeline.train_batches(noise_task(6), RULE, start_step=start_step)


def test_flips_are_random():
    image = np.zeros([8, 8, 3], np.uint8)
    image[:, 4:] = 255
    task = array_task(np.stack([image, image]), [0, 1])
    rule = dataclasses.replace(RULE, batch_size=40)
    images = np.concatenate([images for images, _ in collect(pipeline.train_batches(task, rule))])
    is_flipped = images[:, 0, 0, 0] > 0
    assert (pixels(images[is_flipped]) == image[:, ::-1]).all()
    assert (pixels(images[~is_flipped]) == image).all()
    # Of 400: ten standard deviations from 0 or 400, and five around the mean.
    assert 150 < is_flipped.sum() < 250
    task = dataclasses.replace(task, flip=False)
    for images, _ in collect(pipeline.train_batches(task, rule)):
        assert (pixels(images) == image).all()


def test_crops_are_random_windows():
    rows, columns = np.mgrid[:8, :8]
    image = np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    task = array_task(np.stack([image, image]), [0, 1], flip=False)
    rule = dataclasses.replace(RULE, batch_size=40, crop=6)
    images = np.concatenate([images for images, _ in collect(pipeline.train_batches(task, rule))])
    corners = pixels(images)[:, 0, 0]
    np.testing.assert_array_equal(
        pixels(images) - corners[:, None, None], np.broadcast_to(image[:6, :6], images.shape)
    )
    assert set(map(tuple, corners[:, :2])) == {
        (row, column) for row in range(3) for column in range(3)
    }


def test_without_random_crop_the_whole_image_is_resized():
    task = noise_task(1, flip=False, random_crop=False)
    rule = dataclasses.replace(RULE, resize=10, crop=6)
    (train, _), *_ = collect(pipeline.train_batches(task, rule))
    ((test, _),) = collect(pipeline.test_batches(task, rule.crop, batch_size=1))
    np.testing.assert_array_equal(train[0], test[0])


def test_mixup_mixes_every_neighbour_once():
    rule = dataclasses.replace(RULE, batch_size=6, mixup_alpha=0.5)
    weights = set()
    for images, labels in collect(pipeline.train_batches(numbered_task(6), rule)):
        np.testing.assert_allclose(
            images[:, 0, 0, 0] * 127.5 + 127.5, labels @ np.arange(6), atol=1e-4
        )
        pairs = [tuple(np.flatnonzero(row)) for row in labels]
        assert {len(pair) for pair in pairs} == {2}
        assert len(set(pairs)) == 6
        # One weight for the whole batch: it is each image's, and the rest its partner's.
        weight = labels[0].max()
        np.testing.assert_allclose(labels.max(axis=1), weight, rtol=1e-6)
        weights.add(weight)
    assert len(weights) == rule.steps


@pytest.mark.parametrize("batch_size", [1, 100, 360, 1000])
def test_the_whole_test_split_is_seen_once_in_order(batch_size):
    digits = task("digits")
    batches = pipeline.test_batches(digits, RULE.crop, batch_size)
    assert len(batches) == -(-360 // batch_size)
    images, labels = (np.concatenate(parts) for parts in zip(*collect(batches), strict=True))
    np.testing.assert_array_equal(labels, np.eye(10, dtype=np.float32)[digits.test.labels])
    expected = [example["image"] for example in digits.test.dataset().as_numpy_iterator()]
    np.testing.assert_array_equal(pixels(images), expected)


def test_the_pipeline_resizes_like_that():
    image = np.random.default_rng(0).integers(0, 256, [13, 9, 3], np.uint8)
    small = array_task(image[None], flip=False)
    rule = dataclasses.replace(RULE, resize=5, crop=5, batch_size=1)
    expected = (bilinear(image.astype(float), 5) - 127.5) / 127.5
    for batches in (
        pipeline.train_batches(small, rule),
        pipeline.test_batches(small, rule.crop, 1),
    ):
        np.testing.assert_allclose(collect(batches)[0][0][0], expected, atol=1e-5)


def test_encoded_and_decoded_images_are_the_same():
    images = np.random.default_rng(0).integers(0, 256, [6, 12, 10, 3], np.uint8)
    encoded = np.array([tf.io.encode_png(image).numpy() for image in images], object)
    decoded_task = array_task(images)
    encoded_task = dataclasses.replace(decoded_task, train=array_examples(encoded, range(6)))
    assert_same(
        collect(pipeline.train_batches(decoded_task, RULE)),
        collect(pipeline.train_batches(encoded_task, RULE)),
    )

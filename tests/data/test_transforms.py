"""Images and batches as functions of tensors: resizing, the Inception crop, mixup."""

import numpy as np
import pytest
import tensorflow as tf
from data.bilinear import bilinear

import bit_keras
from bit_keras.data import transforms
from bit_keras.data.transforms import inception_crop, inception_view

HEIGHT, WIDTH = 180, 240


def coordinates():
    """An image that says of each pixel where it is."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype("uint8")


def keys(count):
    return [tf.constant([7, i], tf.int64) for i in range(count)]


def test_inception_crops_have_the_areas_and_aspect_ratios_of_the_recipe():
    crops = [inception_crop(tf.constant(coordinates()), key).numpy() for key in keys(400)]
    for crop in crops:
        rows, columns = crop[:, :, 0].astype(int), crop[:, :, 1].astype(int)
        assert (np.diff(rows, axis=0) == 1).all()  # a piece of the image, as it was
        assert (np.diff(columns, axis=1) == 1).all()
    areas = np.array([crop.shape[0] * crop.shape[1] for crop in crops]) / (HEIGHT * WIDTH)
    ratios = np.array([crop.shape[1] / crop.shape[0] for crop in crops])
    rounding = 1 / 30  # of the sides to whole pixels
    assert 0.05 - rounding < areas.min() < 0.12
    assert 0.85 < areas.max() <= 1
    assert 0.75 - rounding < ratios.min() < 0.8
    assert 1.25 < ratios.max() < 1.33 + rounding
    assert 0.25 < areas.mean() < 0.45  # uniform in height, less what does not lie within the image
    starts = {(crop[0, 0, 0], crop[0, 0, 1]) for crop in crops}
    assert len(starts) > 300


def test_the_key_decides_the_inception_view_and_half_are_flipped():
    view = inception_view(16)
    image = tf.constant(coordinates())
    views = [view(image, key).numpy() for key in keys(60)]
    for one, key in zip(views[:5], keys(5), strict=True):
        assert one.shape == (16, 16, 3)
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, view(image, key))
    flipped = [one[0, 0, 1] > one[0, -1, 1] for one in views]
    assert 15 < sum(flipped) < 45
    kept = [inception_view(16, flip=False)(image, key).numpy() for key in keys(60)]
    assert all(one[0, 0, 1] < one[0, -1, 1] for one in kept)
    for one, other, is_flipped in zip(views, kept, flipped, strict=True):
        np.testing.assert_array_equal(one[:, ::-1] if is_flipped else one, other)


def test_inception_views_of_very_long_images():
    long = np.zeros((4, 400, 3), "uint8")
    assert inception_view(8)(tf.constant(long), keys(1)[0]).shape == (8, 8, 3)
    one = np.full((1, 1, 3), 9, "uint8")
    np.testing.assert_array_equal(inception_view(8)(tf.constant(one), keys(1)[0]), 9)


@pytest.mark.parametrize("size", [3, 7, 9, 24])
def test_resize_is_bilinear_without_antialias(size):
    image = np.random.default_rng(0).integers(0, 256, [13, 9, 3], np.uint8)
    resized = transforms.resize(tf.constant(image), size).numpy()
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, bilinear(image.astype(float), size), atol=1e-3)


def test_preprocessing_is_the_one_of_the_package():
    images = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(
        transforms.preprocess(tf.constant(images)), bit_keras.preprocess_input(images)
    )


def test_mixup_draws_from_the_beta_distribution():
    images, labels = tf.zeros([2, 1, 1, 3]), tf.eye(2)

    def weight(index, alpha):
        return transforms.mixup(images, labels, alpha, tf.stack([index, 0]))[1][0, 0]

    for alpha in (0.1, 1.0):
        weights = list(
            tf.data.Dataset.range(2000).map(lambda i, a=alpha: weight(i, a)).as_numpy_iterator()
        )
        assert np.mean(weights) == pytest.approx(0.5, abs=0.06)
        assert np.var(weights) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
    # Here every second float32 Gamma would be 0, and so every fourth weight 0 / 0.
    tiny = list(tf.data.Dataset.range(500).map(lambda i: weight(i, 0.01)).as_numpy_iterator())
    assert np.isfinite(tiny).all()

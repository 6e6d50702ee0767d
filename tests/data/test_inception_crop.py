"""The training view of pre-training: what it cuts out, and that its key decides."""

import numpy as np
import tensorflow as tf

from bit_keras.data.inception_crop import inception_crop, inception_view

HEIGHT, WIDTH = 180, 240


def coordinates():
    """An image that says of each pixel where it is."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype("uint8")


def keys(count):
    return [tf.constant([7, i], tf.int64) for i in range(count)]


def test_area_and_aspect_ratio():
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


def test_the_key_decides_and_half_are_flipped():
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


def test_encoded_and_very_long_images():
    long = np.zeros((4, 400, 3), "uint8")
    assert inception_view(8)(tf.io.encode_png(long), keys(1)[0]).shape == (8, 8, 3)
    one = np.full((1, 1, 3), 9, "uint8")
    np.testing.assert_array_equal(inception_view(8)(tf.constant(one), keys(1)[0]), 9)

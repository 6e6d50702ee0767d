"""RandAugment through keras-cv: a function of the image and the key."""

import keras
import numpy as np
import tensorflow as tf

from bit_keras.data.rand_augment import rand_augment


def stream(view, image, numbers):
    def one(number):
        return view(image, tf.stack([number, tf.constant(5, tf.int64)]))

    dataset = tf.data.Dataset.from_tensor_slices(np.asarray(numbers, "int64"))
    return list(dataset.map(one, num_parallel_calls=2).as_numpy_iterator())


def test_the_key_decides():
    image = tf.constant(np.random.default_rng(0).uniform(0, 255, (32, 32, 3)), tf.float32)
    first = stream(rand_augment(), image, range(24))
    keras.utils.set_random_seed(77)  # neither this nor what came before matters
    later = stream(rand_augment(), image, range(12, 24))
    for one, other in zip(first[12:], later, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({one.tobytes() for one in first}) > 20
    distances = [np.abs(one - image).mean() for one in first]
    assert np.median(distances) > 5
    for one in first:
        assert one.shape == (32, 32, 3)
        assert 0 <= one.min() <= one.max() <= 255


def test_the_dtype_policy_does_not_matter():
    image = tf.constant(np.random.default_rng(0).uniform(0, 255, (8, 8, 3)), tf.float32)
    expected = stream(rand_augment(), image, range(12))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = stream(rand_augment(), image, range(12))
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_array_equal(found, expected)


def test_without_geometry_every_pixel_stays_in_its_place():
    """Contrast and colors keep a black and white image's halves apart, shear and shift do not."""
    image = np.full((32, 32, 3), 20, "float32")
    image[:, 16:] = 200

    def moved(view):
        return sum(
            len(np.unique(one[:, half])) > 3  # a value for each channel
            for one in stream(view, tf.constant(image), range(40))
            for half in (slice(16), slice(16, None))
        )

    assert moved(rand_augment(geometric=False)) == 0
    assert moved(rand_augment()) > 10

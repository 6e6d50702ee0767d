"""CutMix: a box of another image, and labels by the share of pixels that came from it."""

import keras
import numpy as np
import tensorflow as tf

from bit_keras.data.transforms import cutmix

BATCH, HEIGHT, WIDTH, CLASSES = 40, 24, 32, 7


def batch():
    """Each image has one color, and labels that are no mere one-hot vectors."""
    rng = np.random.default_rng(0)
    values = np.linspace(-1, 1, BATCH, dtype="float32")
    images = np.ones((BATCH, HEIGHT, WIDTH, 3), "float32") * values[:, None, None, None]
    labels = rng.dirichlet(np.ones(CLASSES), BATCH).astype("float32")
    return images, labels


def stream(numbers):
    images, labels = batch()

    def one(number):
        key = tf.stack([number, tf.constant(5, tf.int64)])
        return cutmix(tf.constant(images), tf.constant(labels), key)

    dataset = tf.data.Dataset.from_tensor_slices(np.asarray(numbers, "int64"))
    return list(dataset.map(one, num_parallel_calls=1).as_numpy_iterator())


def test_labels_are_mixed_as_the_pixels_are():
    images, labels = batch()
    colors = images[:, 0, 0, 0]
    kept, sides = [], []
    for mixed, mixed_labels in stream(range(10)):
        assert mixed.shape == images.shape
        assert mixed.dtype == mixed_labels.dtype == np.float32
        np.testing.assert_allclose(mixed_labels.sum(axis=1), 1, rtol=1e-5)
        for i, (image, label) in enumerate(zip(mixed, mixed_labels, strict=True)):
            assert (image == image[..., :1]).all()
            is_own = image[..., 0] == colors[i]
            kept.append(is_own.mean())
            if is_own.all():
                np.testing.assert_allclose(label, labels[i], rtol=1e-5)
                continue
            (other,) = np.flatnonzero(np.isin(colors, image[~is_own]))
            expected = kept[-1] * labels[i] + (1 - kept[-1]) * labels[other]
            np.testing.assert_allclose(label, expected, atol=1e-6)
            rows, columns = np.flatnonzero(~is_own.all(1)), np.flatnonzero(~is_own.all(0))
            box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            assert not is_own[box].any()
            ends = {rows[0], rows[-1] - HEIGHT + 1, columns[0], columns[-1] - WIDTH + 1}
            if 0 not in ends:
                sides.append((len(rows), len(columns)))
    # The mean of Beta(1, 1) is a half, and less is pasted where a box sticks out of the image.
    assert 0.5 < np.mean(kept) < 0.75
    assert min(kept) < 0.2
    # A box that is cut off nowhere has the image's aspect ratio, up to whole pixels.
    assert len(sides) > 50
    for rows, columns in sides:
        assert abs(rows / HEIGHT - columns / WIDTH) < 1 / HEIGHT


def test_the_key_decides():
    first = stream(range(6))
    keras.utils.set_random_seed(77)  # neither this nor what came before matters
    for one, other in zip(first[3:], stream(range(3, 6)), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert len({images.tobytes() for images, _ in first}) == 6

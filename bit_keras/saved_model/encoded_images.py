"""Encoded images to a network's input, inside a graph; what is no image leaves the rest right."""

import tensorflow as tf

from bit_keras.data.pipeline import decode, preprocess


def decode_batch(encoded: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns images as the test pipeline makes them, and which elements are images.

    JPEG, PNG, GIF (the first frame), BMP and WebP, as `bit_keras.data.pipeline.decode` reads them,
    resized bilinearly and without antialiasing. A truncated file is no image.

    Args:
        encoded: strings, `[batch]`.
        size: height and width in pixels.

    Returns:
        float32 `[batch, height, width, 3]` in [-1, 1], zeros where there is no image, and bool
        `[batch]`.
    """

    def read(position: tf.Tensor, element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.image.resize(decode(element), size, method="bilinear", antialias=False)
        return position, preprocess(image)

    # A decoder's error ends the graph that it is in. Only in a tf.data map, which is a graph for
    # each element, can it be caught, with nothing but TensorFlow's own operations.
    count = tf.size(encoded, out_type=tf.int64)
    elements = tf.data.Dataset.from_tensor_slices(encoded).enumerate()
    images = elements.map(read, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    # There is always one more, for a batch of no images is an error too.
    last = tf.data.Dataset.from_tensors((count, tf.zeros([*size, 3])))
    positions, images = images.concatenate(last).batch(count + 1).get_single_element()
    positions = positions[:-1, tf.newaxis]
    return (
        tf.scatter_nd(positions, images[:-1], [count, *size, 3]),
        tf.scatter_nd(positions, tf.ones_like(positions[:, 0]), [count]) > 0,
    )

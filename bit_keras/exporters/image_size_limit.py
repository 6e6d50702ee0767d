"""Limits the number of pixels of encoded images by TensorFlow operations.

The size is read from the first bytes of a file. A file of a few kilobytes can hold an image that
takes gigabytes once it is decoded.
"""

import tensorflow as tf

# The number of pixels from which Pillow warns of a decompression bomb (PIL.Image.MAX_IMAGE_PIXELS).
MAX_PIXELS = 89_478_485

# The first 32 bytes of a GIF, PNG, BMP or WebP file contain the height and width of the image.
_HEADER = 32


def limited(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the encoded images; running the graph fails if an image exceeds `MAX_PIXELS`.

    Args:
        encoded: strings, `[batch]`. What is not an image is not checked.
    """
    counts = tf.data.Dataset.from_tensor_slices(encoded).map(pixels).ignore_errors()
    largest = counts.reduce(tf.constant(0, tf.int64), tf.maximum)
    is_small = tf.debugging.Assert(
        largest <= MAX_PIXELS,
        [f"An image has more than {MAX_PIXELS} pixels; make it smaller. Its pixels:", largest],
    )
    with tf.control_dependencies([is_small]):
        return tf.identity(encoded)


def pixels(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the number of pixels from an encoded image's header, int64; 0 if it is unknown.

    Running the graph fails for a damaged JPEG.
    """
    head = tf.strings.substr(encoded, 0, _HEADER)
    octets = tf.cast(tf.io.decode_raw(head, tf.uint8, fixed_length=_HEADER), tf.int64)

    def starts(magic: bytes, at: int = 0) -> tf.Tensor:
        return tf.reduce_all(octets[at : at + len(magic)] == list(magic))

    def little(at: int, count: int) -> tf.Tensor:
        return tf.reduce_sum(octets[at : at + count] * [256**i for i in range(count)])

    def big(at: int) -> tf.Tensor:
        return tf.reduce_sum(octets[at : at + 4] * [256**i for i in (3, 2, 1, 0)])

    bits = little(21, 4)
    formats = (
        (starts(b"\x89PNG"), big(16) * big(20)),
        (starts(b"GIF8"), little(6, 2) * little(8, 2)),
        # In a BMP file, a negative height means that the rows are stored from top to bottom.
        (starts(b"BM"), little(18, 4) * tf.minimum(little(22, 4), 2**32 - little(22, 4))),
        (starts(b"WEBPVP8 ", 8), (little(26, 2) % 2**14) * (little(28, 2) % 2**14)),
        (starts(b"WEBPVP8L", 8), (bits % 2**14 + 1) * (bits // 2**14 % 2**14 + 1)),
        (starts(b"WEBPVP8X", 8), (little(24, 3) + 1) * (little(27, 3) + 1)),
    )
    count = tf.add_n([tf.where(fits, number, 0) for fits, number in formats])

    def of_jpeg() -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(encoded, tf.int32)
        return tf.reduce_prod(tf.cast(shape[:2], tf.int64))

    return tf.cond(starts(b"\xff\xd8\xff"), of_jpeg, lambda: count)

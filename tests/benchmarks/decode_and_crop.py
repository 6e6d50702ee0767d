"""What it saves to decode only the part of a JPEG that the random crop needs.

    python tests/benchmarks/decode_and_crop.py

The pipeline decodes the image, resizes it and crops. The other way: from the place of the crop to
the pixels that bilinear interpolation reads, `decode_and_crop_jpeg` of these, and `crop_and_resize`
for the part of a pixel that is left. Both are timed in turn on one core, and compared. The entropy
decoding, which is most of the work, is the same for both, but for the rows below the crop; and no
operation of TensorFlow resizes a part of an image as fast as `tf.image.resize` does the whole. So
it pays where the image is many times as large as the crop, and by the rule that is only a large
photograph (448/384): the first line of the table is what the rule resizes to 160.

A JPEG that ends too early is an error of the plain way, and of the other one only if the crop
reaches the missing part.
"""

import statistics
import time

import numpy as np
import tensorflow as tf
from absl import app, flags
from photographs import jpegs

from bit_keras.data import decoding, transforms

_ROUNDS = flags.DEFINE_integer("rounds", 21, "How often each is timed.")

# width, height, quality, how many
_IMAGES = ((95, 95, 95, 64), (500, 375, 95, 32), (1280, 960, 90, 8), (4000, 3000, 88, 3))
_SIZES = ((160, 128), (448, 384))

# libjpeg interpolates the halved colours: the pixels at the window's edge need their neighbours.
_MARGIN = 2


def offsets(resize, crop, key):
    """Returns what `tf.image.stateless_random_crop` draws."""
    drawn = tf.random.stateless_uniform([3], key, 0, tf.int32.max, tf.int32)
    return drawn[:2] % (resize - crop + 1)


def plain(encoded, resize, crop, key):
    image = transforms.resize(decoding.decode(encoded), resize)
    return tf.image.stateless_random_crop(image, [crop, crop, 3], key)


def window(encoded, resize, crop, key):
    size = tf.image.extract_jpeg_shape(encoded)[:2]
    scale = tf.cast(size, tf.float64) / resize
    corner = tf.cast(offsets(resize, crop, key), tf.float64)
    first = (corner + 0.5) * scale - 0.5
    last = (corner + crop - 0.5) * scale - 0.5
    # crop_and_resize is black beyond the centres of the edge's pixels, where resize repeats them:
    # an image that is enlarged goes there.
    inside = tf.reduce_all((first >= 0) & (last <= tf.cast(size - 1, tf.float64)))
    return tf.cond(
        inside,
        lambda: resized_window(encoded, size, first, last, crop),
        lambda: plain(encoded, resize, crop, key),
    )


def resized_window(encoded, size, first, last, crop):
    """Returns `crop` by `crop` samples of the image, the places `first` to `last` in its pixels."""
    begin = tf.maximum(tf.cast(tf.floor(first), tf.int32) - _MARGIN, 0)
    end = tf.minimum(tf.cast(tf.floor(last), tf.int32) + 2 + _MARGIN, size)
    part = tf.concat([begin, end - begin], axis=0)
    image = tf.image.decode_and_crop_jpeg(encoded, part, channels=3)
    span = tf.cast(end - begin - 1, tf.float64)
    corners = [(place - tf.cast(begin, tf.float64)) / span for place in (first, last)]
    box = tf.cast(tf.concat(corners, axis=0), tf.float32)
    return tf.image.crop_and_resize(image[None], box[None], [0], [crop, crop])[0]


def compiled(way, resize, crop):
    """Returns a function of encoded images and keys, which makes one image after the other."""

    @tf.function
    def values(encoded, keys):
        made = tf.map_fn(
            lambda each: way(each[0], resize, crop, each[1])[0, 0, 0],
            (encoded, keys),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )
        return tf.reduce_sum(made)

    return values


def milliseconds(function, encoded, keys):
    start = time.perf_counter()
    function(encoded, keys)
    return (time.perf_counter() - start) / len(keys) * 1000


def measure(name, encoded, keys, resize, crop):
    apart = max(
        np.abs(plain(*each) - window(*each)).max()
        for each in ((image, resize, crop, key) for image, key in zip(encoded, keys, strict=True))
    )
    ways = [compiled(way, resize, crop) for way in (plain, window)]
    for way in ways:
        way(encoded, keys)
    rounds = [[milliseconds(way, encoded, keys) for way in ways] for _ in range(_ROUNDS.value)]
    whole, part = (statistics.median(times) for times in zip(*rounds, strict=True))
    low, ratio, high = statistics.quantiles([part / whole for whole, part in rounds])
    print(
        f"| {name} | {resize}/{crop} | {whole:.2f} | {part:.2f} | "
        f"{ratio:.2f} ({low:.2f} to {high:.2f}) | {apart:.3f} |",
        flush=True,
    )


def main(_):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    print("| JPEGs | sizes | plain, ms | window, ms | window of plain | apart, of 255 |")
    print("|---|---|---|---|---|---|")
    for width, height, quality, count in _IMAGES:
        images = jpegs(count, width, height, quality)
        kilobytes = sum(map(len, images)) / count / 1000
        keys = tf.constant(np.random.default_rng(0).integers(0, 1000, [count, 2]))
        for resize, crop in _SIZES:
            name = f"{width}x{height}, {kilobytes:.0f} KB"
            measure(name, tf.constant(images), keys, resize, crop)


if __name__ == "__main__":
    app.run(main)

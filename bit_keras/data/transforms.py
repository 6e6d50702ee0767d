"""Functions of images, labels and batches: resizing, cropping, mixup and CutMix.

Functions that draw random numbers take a key of two integers; the same key gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# A function `(image, random seed) -> training image`. It takes a whole image, uint8 `[H, W, 3]`,
# and returns float32 `[crop, crop, 3]` in [0, 255].
View = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

# A function `(images, labels, random seed) -> (mixed images, mixed labels)`, such as mixup. Images
# are float32 `[B, crop, crop, 3]`, labels float32 `[B, num_classes]`.
Mix = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

# The ranges of an Inception crop's share of the image's area, and of its width divided by its
# height. Google's code (big_vision, `pp/ops_image.py`, get_inception_crop) and TensorFlow's
# sample_distorted_bounding_box have the same ranges. In the Inception paper (arXiv 1409.4842) a
# crop covers at least 8 %.
AREA = (0.05, 1.0)
ASPECT_RATIO = (0.75, 1.33)


def resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the image resized to `size` by `size` pixels, float32.

    The interpolation is bilinear with half-pixel centres and without antialiasing, as in the
    official pipeline. (torchvision and PIL use antialiasing.)
    """
    return tf.image.resize(image, [size, size], method="bilinear", antialias=False)


def preprocess(images: tf.Tensor) -> tf.Tensor:
    """Scales pixels from [0, 255] to [-1, 1], also inside tf.data with every Keras backend."""
    return (tf.cast(images, tf.float32) - 127.5) / 127.5


def checked_label(label: tf.Tensor, num_classes: int, subject: str = "a label") -> tf.Tensor:
    """Returns a label (or vector of labels) whose range is checked when the example is read.

    Args:
        label: int64, a scalar or a vector.
        num_classes: each label must be at least 0 and below this number; otherwise reading fails
            with an InvalidArgumentError.
        subject: the beginning of the error's message, which names the label.
    """
    in_range = tf.debugging.Assert(
        tf.reduce_all((label >= 0) & (label < num_classes)),
        [f"{subject} is not in 0 to {num_classes - 1}, but", label],
    )
    with tf.control_dependencies([in_range]):
        return tf.identity(label)


def inception_view(crop: int, flip: bool = True) -> View:
    """Returns a function that crops a random rectangle from an image, and resizes and flips it.

    Args:
        crop: side in pixels of the square that the rectangle is resized to (bilinear, without
            antialiasing).
        flip: if True, half of the images are flipped horizontally.
    """

    def view(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        crop_key, flip_key = tf.unstack(tf.random.split(key, 2))
        image = resize(inception_crop(image, crop_key), crop)
        if flip:
            image = tf.image.stateless_random_flip_left_right(image, flip_key)
        return image

    return view


def inception_crop(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Returns a random rectangle of an image, uint8 `[h, w, 3]`.

    Its height is uniform between the bounds that follow from `ASPECT_RATIO`. If none of 100
    rectangles lies within the image, as may happen in a very long image, the whole image is
    returned.
    """
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        # No bounding boxes of objects are given, because the crop need not contain an object.
        tf.zeros([0, 0, 4]),
        seed=key,
        min_object_covered=0.0,
        area_range=AREA,
        aspect_ratio_range=ASPECT_RATIO,
        use_image_if_no_bounding_boxes=True,
    )
    crop = tf.slice(image, begin, size)
    crop.set_shape([None, None, 3])
    return crop


def mixup(
    images: tf.Tensor, labels: tf.Tensor, alpha: float, key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixup: returns `weight * batch + (1 - weight) * roll(batch)` for the images and the labels.

    One `weight ~ Beta(alpha, alpha)` is drawn for a batch. Each image is mixed with the next one
    of the batch, so that no image is mixed with itself in a batch of two or more, and no pair is
    mixed twice in a batch of three or more. (The official code reverses the batch, which mixes
    each pair twice.)

    Args:
        images: float32 `[B, H, W, 3]`.
        labels: float32 `[B, num_classes]`.
        alpha: parameter of the Beta distribution, above 0.
        key: two integers, the seed of the weight.
    """
    # A Beta variable is x / (x + y) for two Gamma variables x and y. They are float64, because with
    # alpha = 0.1 a float32 Gamma variable underflows to 0 once in 6000 draws, and 0 / 0 is NaN.
    x, y = tf.unstack(tf.random.stateless_gamma([2], key, alpha, dtype=tf.float64))
    weight = tf.cast(x / (x + y), tf.float32)
    return _mixed(images, weight), _mixed(labels, weight)


def _mixed(batch: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    partners = (1 - weight) * tf.roll(batch, shift=-1, axis=0)
    # The weighted partner images are computed first, which lets TensorFlow reuse the memory of the
    # batch for the weighted images and for the sum.
    with tf.control_dependencies([partners]):
        return weight * batch + partners


def cutmix(images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the batch with a box from another image of the batch pasted into each image (CutMix).

    The box has the image's aspect ratio, and its centre is a random pixel. Its share of the area
    is drawn from Beta(1, 1), which is uniform. The part of the box outside the image is cut off
    (arXiv 1905.04899, section 3.1). Labels are mixed by the exact share of pixels that came from
    each image. (keras-cv's CutMix also counts the pixels that were cut off.)

    Args:
        images: float32 `[B, H, W, 3]`.
        labels: float32 `[B, num_classes]`.
        key: two integers, the seed of the partners and the boxes.
    """
    batch, height, width, _ = tf.unstack(tf.shape(images))
    partner_key, share_key, center_key = tf.unstack(tf.random.split(key, 3))
    partners = tf.random.experimental.stateless_shuffle(tf.range(batch), partner_key)
    scale = tf.sqrt(tf.random.stateless_uniform([batch, 1], share_key))
    centers = tf.random.stateless_uniform([2, batch, 1], center_key)
    rows, columns = _covered(height, scale, centers[0]), _covered(width, scale, centers[1])
    is_pasted = rows[:, :, None] & columns[:, None, :]
    pasted = tf.reduce_mean(tf.cast(is_pasted, tf.float32), axis=[1, 2])[:, None]
    images = tf.where(is_pasted[..., None], tf.gather(images, partners), images)
    return images, (1 - pasted) * labels + pasted * tf.gather(labels, partners)


def _covered(length: tf.Tensor, scale: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
    """Returns bool `[B, length]`: True for the pixel rows (or columns) inside the CutMix box.

    Args:
        length: height or width of the images in pixels.
        scale: `[B, 1]`, the box's side as a share of the length.
        center: `[B, 1]`, the middle of the box as a share of the length.
    """
    pixels = tf.cast(length, tf.float32)
    size = tf.floor(scale * pixels)
    start = tf.floor(center * pixels) - size / 2
    index = tf.range(pixels)
    return (start <= index) & (index < start + size)

"""The training view of pre-training and distillation: Inception crop and horizontal flip."""

from __future__ import annotations

import tensorflow as tf

from bit_keras.data import pipeline

# The crop's share of the image's area, and its width over its height; between the bounds its height
# is uniform. Google's code for this recipe: big_vision, `pp/ops_image.py`, get_inception_crop, and
# the default of TensorFlow's sample_distorted_bounding_box. (The Inception paper, arXiv 1409.4842,
# draws from 8 % on.)
AREA = (0.05, 1.0)
ASPECT_RATIO = (0.75, 1.33)


def inception_view(crop: int, flip: bool = True) -> pipeline.View:
    """Returns the view that cuts a random rectangle, resizes it and flips it at random.

    A view, as `pipeline.train_batches` takes it, is a function of the image and of a key, two
    integers: the same key cuts the same rectangle.

    Args:
        crop: side in pixels of the square that the rectangle is resized to: bilinear, no
            antialiasing.
        flip: whether half of the images are flipped.
    """

    def view(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        crop_key, flip_key = tf.unstack(tf.random.split(key, 2))
        image = pipeline.resize(inception_crop(pipeline.decode(image), crop_key), crop)
        if flip:
            image = tf.image.stateless_random_flip_left_right(image, flip_key)
        return image

    return view


def inception_crop(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Returns a random rectangle of an image, uint8 `[h, w, 3]`.

    Where none of 100 draws lies within the image, as in very long ones, it is the whole image.
    """
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros([0, 0, 4]),  # no object that it would have to cover
        seed=key,
        min_object_covered=0.0,
        area_range=AREA,
        aspect_ratio_range=ASPECT_RATIO,
        use_image_if_no_bounding_boxes=True,
    )
    crop = tf.slice(image, begin, size)
    crop.set_shape([None, None, 3])
    return crop

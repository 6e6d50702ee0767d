"""RandAugment (arXiv 1909.13719) through keras-cv."""

from __future__ import annotations

import tensorflow as tf

from bit_keras.data import keras_cv_layers, pipeline

# The light setting of "How to train your ViT?" (arXiv 2106.10270), in big_vision's
# `configs/vit_i21k.py`: 'light2' is randaug(2, 10). On the scale of its `pp/autoaugment.py` level
# 10 shears by 0.3, and keras-cv's magnitude is the mean of the shear. Its other distortions have
# scales of their own, so it is like that setting, not the same.
_DISTORTIONS = 2
_MAGNITUDE = 0.3


def rand_augment(geometric: bool = True) -> pipeline.View:
    """Returns the view that distorts an image by RandAugment: twice, of ten distortions at random.

    The same key distorts alike, so a run that goes on sees what it would have seen. Of JPEGs of
    500x375 at 160/128 the pipeline makes about half as many images a second with it on two cores,
    three times as many as the small network R14x0.5 trains on there
    (`tests/benchmarks/augmentation.py`).

    Args:
        geometric: whether to shear and shift too, beside contrast and colors.

    Raises:
        ImportError: keras-cv is missing or broken.
    """
    layer = keras_cv_layers.layer(
        "RandAugment",
        value_range=(0, 255),
        augmentations_per_image=_DISTORTIONS,
        magnitude=_MAGNITUDE,
        geometric=geometric,
    )

    def view(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        with keras_cv_layers.drawing_from(key):
            distorted = layer(image)
        return tf.clip_by_value(tf.reshape(distorted, tf.shape(image)), 0.0, 255.0)

    return view

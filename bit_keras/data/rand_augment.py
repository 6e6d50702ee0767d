"""RandAugment through keras-cv, with the random numbers of the pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import tensorflow as tf

from bit_keras.data import pipeline

# "How to train your ViT?" (arXiv 2106.10270), section 3.3, of the authors of BiT, has two
# distortions as a light setting, of magnitude 10 of 30.
_DISTORTIONS = 2
_MAGNITUDE = 10 / 30


def rand_augment() -> pipeline.View:
    """Returns the view that distorts an image by RandAugment (arXiv 1909.13719).

    The same key distorts alike, so a run that goes on sees what it would have seen.

    Raises:
        ImportError: keras-cv is missing or broken.
    """
    layer = _layer()

    def view(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        with _drawing_from(key):
            distorted = layer(image)
        return tf.clip_by_value(tf.reshape(distorted, tf.shape(image)), 0.0, 255.0)

    return view


def _layer():
    try:
        import keras_cv
    except Exception as error:  # a package that does not fit the others raises anything
        raise ImportError(
            f"RandAugment needs keras-cv, which cannot be imported ({type(error).__name__}: "
            f"{error}). Install it with `pip install 'keras-cv>=0.9,<0.10'`, or train without "
            "randaugment."
        ) from error
    return keras_cv.layers.RandAugment(
        value_range=(0, 255), augmentations_per_image=_DISTORTIONS, magnitude=_MAGNITUDE
    )


class _Draws:
    """`tf.random`'s functions that keras-cv calls, with a number of their own for each call."""

    def __init__(self, key: tf.Tensor):
        self.key, self.calls = key, 0

    def uniform(self, shape, minval=0, maxval=None, dtype=tf.float32, seed=None, name=None):
        return tf.random.stateless_uniform(shape, self._next(), minval, maxval, dtype)

    def normal(self, shape, mean=0.0, stddev=1.0, dtype=tf.float32, seed=None, name=None):
        return tf.random.stateless_normal(shape, self._next(), mean, stddev, dtype)

    def _next(self) -> tf.Tensor:
        self.calls += 1
        return tf.random.fold_in(self.key, self.calls)


@contextlib.contextmanager
def _drawing_from(key: tf.Tensor) -> Iterator[None]:
    """Has what keras-cv traces draw from a key: it has no seed that could be given at each call."""
    draws = _Draws(key)
    with (
        mock.patch.object(tf.random, "uniform", draws.uniform),
        mock.patch.object(tf.random, "normal", draws.normal),
        mock.patch.object(
            tf.random.Generator, "uniform", lambda _, *a, **k: draws.uniform(*a, **k)
        ),
    ):
        yield

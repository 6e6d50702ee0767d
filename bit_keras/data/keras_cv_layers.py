"""keras-cv's layers with the random numbers of the pipeline; imported only when asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import keras
import tensorflow as tf

_REMEDY = "Install it with `pip install 'keras-cv>=0.9,<0.10'`, or train without augmentation."


def check_importable() -> None:
    """Raises an ImportError that says what to do if keras-cv is missing or broken."""
    with _naming_the_remedy():
        import keras_cv  # noqa: F401


def layer(name: str, **arguments):
    """Returns a layer of `keras_cv.layers`, in float32 whatever Keras' dtype policy is.

    Raises:
        ImportError: keras-cv is missing or broken.
    """
    with _naming_the_remedy(), _float32():
        import keras_cv

        return getattr(keras_cv.layers, name)(**arguments)


@contextlib.contextmanager
def drawing_from(key: tf.Tensor) -> Iterator[None]:
    """Has what keras-cv traces draw from a key: it has no seed that could be given at each call.

    Args:
        key: two integers; the same key draws the same numbers.
    """
    draws = _Draws(key)
    with (
        mock.patch.object(tf.random, "uniform", draws.uniform),
        mock.patch.object(tf.random, "normal", draws.normal),
        mock.patch.object(tf.random, "gamma", draws.gamma),
        mock.patch.object(tf.random, "shuffle", draws.shuffle),
        mock.patch.object(
            tf.random.Generator, "uniform", lambda _, *a, **k: draws.uniform(*a, **k)
        ),
    ):
        yield


class _Draws:
    """`tf.random`'s functions that keras-cv calls, with a key of their own for each call."""

    def __init__(self, key: tf.Tensor):
        self.key, self.calls = key, 0

    def uniform(self, shape, minval=0, maxval=None, dtype=tf.float32, seed=None, name=None):
        return tf.random.stateless_uniform(shape, self._next(), minval, maxval, dtype)

    def normal(self, shape, mean=0.0, stddev=1.0, dtype=tf.float32, seed=None, name=None):
        return tf.random.stateless_normal(shape, self._next(), mean, stddev, dtype)

    def gamma(self, shape, alpha, beta=None, dtype=tf.float32, seed=None, name=None):
        return tf.random.stateless_gamma(shape, self._next(), alpha, beta, dtype)

    def shuffle(self, value, seed=None, name=None):
        return tf.random.experimental.stateless_shuffle(value, self._next())

    def _next(self) -> tf.Tensor:
        self.calls += 1
        return tf.random.fold_in(self.key, self.calls)


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    """Makes float32 layers; of RandAugment an argument would not reach the layers inside."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def _naming_the_remedy() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a package that does not fit the others raises anything
        raise ImportError(
            f"Augmentation needs keras-cv, which cannot be used ({type(error).__name__}: {error}). "
            f"{_REMEDY}"
        ) from error

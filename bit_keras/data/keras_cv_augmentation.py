"""The augmentations "rand_augment" (RandAugment, with layers of keras-cv) and "cutmix" (CutMix)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from bit_keras.data import transforms
from bit_keras.data.tasks import Task
from bit_keras.utils.nearest_name import nearest_name

# The number of distortions per image and their magnitude in RandAugment. They follow the light
# setting of "How to train your ViT?" (arXiv 2106.10270), which big_vision's `configs/vit_i21k.py`
# calls 'light2': randaug(2, 10), whose level 10 shears by 0.3 (`pp/autoaugment.py`). In keras-cv,
# the magnitude is the mean of the shear. The other distortions have other scales, so this setting
# is similar but not the same.
_DISTORTIONS, _MAGNITUDE = 2, 0.3

# The defaults of keras-cv's RandAugment: the standard deviation of the magnitude, the probability
# of a distortion, and the largest number that solarization adds to a pixel.
_SPREAD, _RATE, _LARGEST_ADDITION = 0.15, 10 / 11, 110

# A function that draws, from a random seed of two integers, the argument `transformations` of a
# keras-cv layer for one image.
_Draw = Callable[[tf.Tensor], tf.Tensor | dict[str, tf.Tensor | None] | None]


def rand_augment(geometric: bool = True) -> transforms.View:
    """Returns a function that applies RandAugment to an image: two of ten distortions.

    The layers of keras-cv distort the image, with numbers that are drawn here from the key, because
    the layers take no seed in a call. So the same key gives the same distortion, and a run that was
    interrupted continues with the images that it would have had.

    Args:
        geometric: if True, also shear and shift the image; if False, change only contrast and
            colours.

    Raises:
        ImportError: keras-cv is missing or broken.
    """
    with _naming_the_remedy():
        rows = _distortions(geometric)

    def distort_once(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        rate_key, row_key, draw_key = tf.unstack(tf.random.split(key, 3))
        is_applied = tf.random.stateless_uniform([], rate_key) < _RATE
        row = tf.random.stateless_uniform([], row_key, 0, len(rows), tf.int32)
        return tf.switch_case(
            tf.where(is_applied, row, len(rows)),
            [_branch(layer, draw, image, draw_key) for layer, draw in rows],
            default=lambda: image,
        )

    def view(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        for each in tf.unstack(tf.random.split(key, _DISTORTIONS)):
            image = distort_once(image, each)
        return tf.clip_by_value(image, 0.0, 255.0)

    return view


def _branch(layer: keras.Layer, draw: _Draw, image: tf.Tensor, key: tf.Tensor) -> Callable:
    def distorted() -> tf.Tensor:
        images = layer.augment_images(image[None], transformations=draw(key))
        return tf.ensure_shape(images[0], image.shape)

    return distorted


def _distortions(geometric: bool) -> list[tuple[keras.Layer, _Draw]]:
    """Returns keras-cv's layers for RandAugment, each with a function that draws random numbers."""
    from keras_cv import layers

    # The dtype float32 is given to the layers, because they would otherwise have the dtype of
    # Keras' global policy, such as bfloat16.
    dtype = {"dtype": "float32"}
    pixels = {"value_range": (0, 255), **dtype}

    def solarization(key: tf.Tensor) -> dict[str, tf.Tensor]:
        addition_key, threshold_key = tf.unstack(tf.random.split(key, 2))
        return {
            "additions": _LARGEST_ADDITION * _strength(addition_key),
            "thresholds": 255 * (1 - _strength(threshold_key)),
        }

    rows = [
        (layers.AutoContrast(**pixels), lambda key: None),
        (layers.Equalization(**pixels), lambda key: None),
        (layers.Solarization(**pixels), solarization),
        (layers.RandomColorDegeneration(_MAGNITUDE, **dtype), _strength),
        (layers.RandomContrast(factor=_MAGNITUDE, **pixels), lambda key: 1 + _change(key)),
        (layers.RandomBrightness(_MAGNITUDE, **pixels), lambda key: 255 * _change(key)),
    ]
    if geometric:
        shear = layers.RandomShear(_MAGNITUDE, _MAGNITUDE, **dtype)
        shift = layers.RandomTranslation(_MAGNITUDE, _MAGNITUDE, **dtype)
        none = tf.zeros([1, 1])
        rows += [
            (shear, lambda key: {"shear_x": _signed_strength(key), "shear_y": None}),
            (shear, lambda key: {"shear_x": None, "shear_y": _signed_strength(key)}),
            (shift, lambda key: {"width_translations": _change(key), "height_translations": none}),
            (shift, lambda key: {"width_translations": none, "height_translations": _change(key)}),
        ]
    return rows


def _strength(key: tf.Tensor) -> tf.Tensor:
    """Draws a RandAugment strength, `[1, 1]`: normal around the magnitude, clipped to [0, 1]."""
    return tf.clip_by_value(
        tf.random.stateless_normal([1, 1], key, _MAGNITUDE, _SPREAD),
        clip_value_min=0,
        clip_value_max=1,
    )


def _signed_strength(key: tf.Tensor) -> tf.Tensor:
    """Draws a RandAugment strength, `[1, 1]`: normal around the magnitude, with a random sign."""
    strength_key, sign_key = tf.unstack(tf.random.split(key, 2))
    return _strength(strength_key) * tf.sign(tf.random.stateless_uniform([1, 1], sign_key) - 0.5)


def _change(key: tf.Tensor) -> tf.Tensor:
    """Draws a number, `[1, 1]`, uniformly between minus and plus RandAugment's magnitude."""
    return tf.random.stateless_uniform([1, 1], key, -_MAGNITUDE, _MAGNITUDE)


@contextlib.contextmanager
def _naming_the_remedy() -> Iterator[None]:
    try:
        yield
    # A keras-cv that does not fit the other packages may raise any exception, so all are caught.
    except Exception as error:
        raise ImportError(
            "The augmentation 'rand_augment' needs keras-cv, which cannot be imported or used "
            f"({type(error).__name__}: {error}). Install it with "
            "`pip install 'keras-cv>=0.9,<0.10'`, or train without 'rand_augment'."
        ) from error


# Maps the name of an augmentation to the argument of `pipeline.train_batches` that takes the
# augmentation, and to the function that makes the augmentation for a task.
_TABLE: dict[str, tuple[str, Callable[[Task], transforms.View | transforms.Mix]]] = {
    # If a task forbids random crops, its labels depend on positions in the image, so RandAugment
    # does not shift or shear the image either.
    "rand_augment": ("distort", lambda task: rand_augment(geometric=task.random_crop)),
    "cutmix": ("mix", lambda task: transforms.cutmix),
}


def checked(names: str | None) -> str | None:
    """Checks a comma-separated list of augmentations; returns it without repeats, in a fixed order.

    Args:
        names: "rand_augment", "cutmix", or both with a comma between them; None for no
            augmentation, which returns None.

    Raises:
        ValueError: an unknown name.
        ImportError: "rand_augment" was given, and keras-cv is missing or broken.

    >>> checked("cutmix, rand_augment")
    'rand_augment,cutmix'
    """
    if names is None:
        return None
    asked = [name.strip() for name in names.split(",")]
    for name in asked:
        if name not in _TABLE:
            raise ValueError(
                f"Unknown augmentation {name!r}; the nearest is {nearest_name(name, _TABLE)!r}. "
                f"Expected {' or '.join(map(repr, _TABLE))}, or both with a comma between them."
            )
    if "rand_augment" in asked:
        with _naming_the_remedy():
            import keras_cv  # noqa: F401
    return ",".join(name for name in _TABLE if name in asked)


def arguments(names: str | None, task: Task) -> dict[str, transforms.View | transforms.Mix]:
    """Returns the named augmentations as keyword arguments of `pipeline.train_batches`.

    Raises:
        ImportError: keras-cv is missing or broken.
    """
    rows = [_TABLE[name] for name in names.split(",")] if names else []
    return {argument: make(task) for argument, make in rows}

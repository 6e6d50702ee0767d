"""From a task to batches: decode, resize, crop, flip, mixup, all from one seed.

Every random number is a stateless function of the seed and of the position in the stream. So the
same seed gives the same stream, and a run that was stopped after k steps goes on at step k as if
nothing had happened, without computing the k batches again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from bit_keras.data.tasks import Examples, Task
from bit_keras.data.unreadable import remember_source
from bit_keras.hyperrule import HyperRule

# One stream of random numbers for each purpose: (seed, stream, position) is the key.
_SHUFFLE, _AUGMENT, _MIX, _DISTORT = range(4)

# From an image as it is stored and a key to a training image, float32 `[crop, crop, 3]`, 0 to 255.
View = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

# From a batch, images float32 `[B, crop, crop, 3]` and labels float32 `[B, num_classes]`, and a key
# to a mixed one.
Mix = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

# Batches made ahead of the step that runs. The images of a batch of 512 at 384 pixels take 0.9 GB.
_PREFETCH = 1


def train_batches(
    task: Task,
    rule: HyperRule,
    seed: int = 0,
    start_step: int = 0,
    view: View | None = None,
    distort: View | None = None,
    mix: Mix | None = None,
) -> tf.data.Dataset:
    """Returns the training batches from `start_step` to the rule's last step.

    Each epoch is a new permutation of the training set, and a batch may cross from one epoch
    into the next: every batch is full, even if it is larger than the training set. An image is
    resized to `rule.resize` squared, bilinearly and without antialiasing as in the official
    code, cropped at random to `rule.crop` squared and flipped at random. With
    `rule.mixup_alpha > 0` each batch is then mixed with itself by mixup.

    Args:
        task: the task; its `flip` and `random_crop` say what keeps the label. Without random
            crop the image is resized to `rule.crop` squared directly.
        rule: the hyper-parameters; another rule that has steps, batch_size and mixup_alpha will
            do where a view is given.
        seed: an integer; the same seed gives the same batches.
        start_step: the first batch is the one of this step, counted from 0.
        view: what is done to an image instead of resize, crop and flip.
        distort: what is done to an image after that, float32 `[crop, crop, 3]`, 0 to 255.
        mix: what is done to a batch instead of the mixup that the rule asks for.

    Returns:
        A dataset of `rule.steps - start_step` pairs: images, float32
        `[batch_size, crop, crop, 3]` in [-1, 1], and labels, float32 `[batch_size, num_classes]`:
        probabilities that sum to one, or a 1 for each of several labels.

    Raises:
        ValueError: `start_step` is not in `[0, rule.steps]`.
    """
    if not 0 <= start_step <= rule.steps:
        raise ValueError(
            f"start_step must be from 0 to the rule's {rule.steps} steps, got {start_step}."
        )
    first = start_step * rule.batch_size
    num_steps = rule.steps - start_step
    view = view or (lambda image, key: _augment(image, task, rule, key))
    if mix is None and rule.mixup_alpha > 0:
        mix = functools.partial(mixup, alpha=rule.mixup_alpha)

    def example(index: tf.Tensor, element: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        read = task.train.read(element)
        image = view(read["image"], _key(seed, _AUGMENT, index))
        if distort is not None:
            image = distort(image, _key(seed, _DISTORT, index))
        return preprocess(image), _hot(read["label"], task.num_classes)

    def mixed(step: tf.Tensor, batch: tuple) -> tuple[tf.Tensor, tf.Tensor]:
        return mix(*batch, key=_key(seed, _MIX, step))

    elements = _shuffled_forever(task.train, seed, first)
    batches = (
        elements.enumerate(start=first)
        .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(rule.batch_size, drop_remainder=True)
    )
    if mix is not None:
        # One batch at a time: its operations are parallel themselves.
        batches = batches.enumerate(start=start_step).map(mixed, num_parallel_calls=1)
    batches = (
        batches.take(num_steps)
        .apply(tf.data.experimental.assert_cardinality(num_steps))
        .prefetch(_PREFETCH)
        .with_options(_shared_by_rows())
    )
    # Those of the first batch and of what is made ahead of it.
    at_hand = elements.take((1 + _PREFETCH) * rule.batch_size)
    return remember_source(batches, task.name, task.train, at_hand, decode)


def test_batches(task: Task, rule: HyperRule, batch_size: int) -> tf.data.Dataset:
    """Returns the whole test split once, in its fixed order.

    The image is resized to `rule.crop` squared (bilinear, no antialiasing); nothing is cropped.

    Args:
        task: the task.
        rule: the hyper-parameters; only `crop` counts.
        batch_size: images a batch; the last batch may be smaller.

    Returns:
        A dataset of pairs: images, float32 `[B, crop, crop, 3]` in [-1, 1], and one-hot labels,
        float32 `[B, num_classes]`, as in `train_batches`.
    """

    def example(element: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        read = task.test.read(element)
        image = resize(decode(read["image"]), rule.crop)
        return preprocess(image), _hot(read["label"], task.num_classes)

    num_batches = -(-task.num_test_examples // batch_size)
    elements = task.test.elements()
    batches = (
        elements.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size)
        .apply(tf.data.experimental.assert_cardinality(num_batches))
        .prefetch(_PREFETCH)
        .with_options(_shared_by_rows())
    )
    return remember_source(batches, task.name, task.test, elements, decode)


def decode(image: tf.Tensor) -> tf.Tensor:
    """Returns the uint8 `[H, W, 3]` of an encoded image; a decoded one passes through.

    Grey, palette, 16-bit and CMYK images become 8-bit RGB, transparency is dropped, an animated
    GIF gives its first frame, and an EXIF orientation is not applied.
    """
    if image.dtype != tf.string:
        return image
    image = tf.io.decode_image(image, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image


def resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the image at `size` squared, float32: bilinear, half-pixel centres.

    Without antialiasing, as the official pipeline does it; torchvision and PIL antialias.
    """
    return tf.image.resize(image, [size, size], method="bilinear", antialias=False)


def preprocess(images: tf.Tensor) -> tf.Tensor:
    """Returns `bit_keras.preprocess_input(images)`, in a tf.data map whatever Keras' backend is."""
    return (tf.cast(images, tf.float32) - 127.5) / 127.5


def mixup(
    images: tf.Tensor, labels: tf.Tensor, alpha: float, key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `weight * batch + (1 - weight) * roll(batch)` for the images and for the labels.

    One `weight ~ Beta(alpha, alpha)` a batch. The partner is the next image of the batch: of two
    images or more none meets itself, and from three on no pair is mixed twice (reversing the
    batch, as the official code does, mixes each pair twice).

    Args:
        images: float32 `[B, H, W, 3]`.
        labels: float32 `[B, num_classes]`.
        alpha: parameter of the Beta distribution, above 0.
        key: two integers, the seed of the weight.
    """
    # Beta as a ratio of two Gammas. In float64: with alpha = 0.1 a float32 Gamma underflows to 0
    # once in 6000 draws, and then both may: 0 / 0.
    x, y = tf.unstack(tf.random.stateless_gamma([2], key, alpha, dtype=tf.float64))
    weight = tf.cast(x / (x + y), tf.float32)
    return _mixed(images, weight), _mixed(labels, weight)


def _shared_by_rows() -> tf.data.Options:
    """Has several workers take rows of each batch, where TensorFlow would give each some files."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options


def _mixed(batch: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    partners = (1 - weight) * tf.roll(batch, shift=-1, axis=0)
    # Nothing else reads the batch after this, so its memory is taken for the product and the sum.
    with tf.control_dependencies([partners]):
        return weight * batch + partners


def _hot(label: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Returns float32 `[num_classes]`: a 1 for a label, or for each of a vector of labels."""
    hot = tf.one_hot(label, num_classes)
    return hot if label.shape.rank == 0 else tf.minimum(tf.reduce_sum(hot, axis=0), 1.0)


def _augment(image: tf.Tensor, task: Task, rule: HyperRule, key: tf.Tensor) -> tf.Tensor:
    # The whole image: with decode_and_crop_jpeg the same crop of a JPEG of 500x375 took 1.5 times
    # as long at 448/384, and of 4000x3000 0.97 (tests/benchmarks/decode_and_crop.py).
    image = decode(image)
    crop_key, flip_key = tf.unstack(tf.random.split(key, 2))
    if task.random_crop:
        image = resize(image, rule.resize)
        image = tf.image.stateless_random_crop(image, [rule.crop, rule.crop, 3], crop_key)
    else:
        image = resize(image, rule.crop)
    if task.flip:
        image = tf.image.stateless_random_flip_left_right(image, flip_key)
    return image


def _key(seed: int, stream: int, position: tf.Tensor) -> tf.Tensor:
    """Returns the seed, two integers, of a stateless random op."""
    return tf.random.fold_in(tf.constant([seed, stream], tf.int64), position)


def _shuffled_forever(examples: Examples, seed: int, first: int) -> tf.data.Dataset:
    """Returns the elements, epoch after epoch, from position `first` of the stream on."""
    first_epoch, seen = divmod(first, examples.num_examples)
    elements = examples.elements()
    buffer = examples.shuffle_buffer or examples.num_examples

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        # In this function it is only this function's graph whose seed is set: else the global
        # seed would take part, and the same `seed` would shuffle differently.
        tf.random.set_seed(1)
        key = _key(seed, _SHUFFLE, number)
        # Dataset.shuffle takes one number as its seed, and no more than 31 bits of it.
        shuffle_seed = tf.random.stateless_uniform([], key, 0, tf.int32.max, tf.int64)
        return elements.shuffle(buffer, shuffle_seed, reshuffle_each_iteration=False)

    return tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch).skip(seen)

"""Makes batches from a task: decodes, resizes, crops, flips and mixes images, all from one seed.

Every random number is a stateless function of the seed and of the position in the stream. So the
same seed gives the same stream, and a run that was stopped after k steps continues with the batch
of step k without computing the first k batches again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from bit_keras.data.corrupt_images import remember_source
from bit_keras.data.decoding import decode
from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task
from bit_keras.data.transforms import Mix, View, mixup, preprocess, resize
from bit_keras.hyperrule import HyperRule

# Shuffling, augmentation, mixing and distortion use independent random numbers: each random seed is
# made from (seed, one of these numbers, position of the image or batch).
_SHUFFLE, _AUGMENT, _MIX, _DISTORT = range(4)

# A function of a batch of images and labels, such as one that adds the outputs of a teacher.
Finish = Callable[[tf.Tensor, tf.Tensor], Any]

# Number of batches that are made before a step needs them. The images of one batch of 512 at 384
# pixels take 0.9 GB.
_PREFETCH = 1


def train_batches(
    task: Task,
    rule: HyperRule,
    seed: int = 0,
    start_step: int = 0,
    view: View | None = None,
    distort: View | None = None,
    mix: Mix | None = None,
    finish: Finish | None = None,
) -> tf.data.Dataset:
    """Returns the training batches from `start_step` to the rule's last step.

    Each epoch is a new permutation of the training set. A batch may contain images of two epochs,
    so every batch is full, even if it is larger than the training set. An image is resized to
    `rule.resize` by `rule.resize` pixels, bilinearly and without antialiasing as in the official
    code, then cropped at random to `rule.crop` by `rule.crop`, and flipped at random. If
    `rule.mixup_alpha > 0`, the images of each batch are then mixed by mixup.

    Args:
        task: the task. Its `flip` and `random_crop` say which changes keep the label. If
            `random_crop` is False, the image is resized to `rule.crop` directly.
        rule: the hyper-parameters. With a `view`, any object that has `steps`, `batch_size` and
            `mixup_alpha` can be given.
        seed: an integer; the same seed gives the same batches.
        start_step: the step of the first batch, counted from 0.
        view: the function of an image that replaces resize, crop and flip.
        distort: a function that is applied after that to the image, float32 `[crop, crop, 3]` in
            [0, 255].
        mix: the function of a batch that replaces the mixup of the rule.
        finish: a function `(images, labels) -> element` that is applied to each batch at the end.

    Returns:
        A dataset of `rule.steps - start_step` pairs: images, float32 `[batch_size, crop, crop, 3]`
        in [-1, 1], and labels, float32 `[batch_size, num_classes]`. The labels are probabilities
        that sum to one, or have a 1 for each of several labels.

    Raises:
        ValueError: `start_step` is not in `[0, rule.steps]`.
    """
    if not 0 <= start_step <= rule.steps:
        raise ValueError(
            f"start_step must be from 0 to {rule.steps}, the number of training steps, got "
            f"{start_step}."
        )
    first = start_step * rule.batch_size
    num_steps = rule.steps - start_step
    view = view or (lambda image, key: _augment(image, task, rule, key))
    if mix is None and rule.mixup_alpha > 0:
        mix = functools.partial(mixup, alpha=rule.mixup_alpha)

    def example(index: tf.Tensor, element: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        read = task.train.read(element)
        # The whole image is decoded. To decode only the crop, with decode_and_crop_jpeg, took 1.5
        # times as long for a JPEG of 500x375 at 448/384 pixels, and 0.97 times as long for one of
        # 4000x3000 (tests/benchmarks/decode_and_crop.py).
        image = decode(read["image"], task.background)
        image = view(image, _key(seed, _AUGMENT, index))
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
        # Only one batch at a time goes through mixup or CutMix, because the operations of mixup and
        # CutMix already run in parallel.
        batches = batches.enumerate(start=start_step).map(mixed, num_parallel_calls=1)
    if finish is not None:
        batches = batches.map(finish, num_parallel_calls=1)
    batches = (
        batches.take(num_steps)
        .apply(tf.data.experimental.assert_cardinality(num_steps))
        .prefetch(_PREFETCH)
        .with_options(_shared_by_rows())
    )
    # A corrupt image that makes reading fail is in the next batch or in the batches prepared in
    # advance, so it is looked for in the elements of these batches.
    first_elements = elements.take((1 + _PREFETCH) * rule.batch_size)
    return remember_source(batches, task, task.train, first_elements)


def test_batches(  # Of the test split; it is no test.
    task: Task,
    crop: int,
    batch_size: int,
    finish: Finish | None = None,  # noqa: PT028
) -> tf.data.Dataset:
    """Returns batches of the whole test split, with each image once, in a fixed order.

    Each image is resized to `crop` by `crop` pixels (bilinear, without antialiasing), and is not
    cropped.

    Args:
        task: the task.
        crop: side in pixels of the resized images.
        batch_size: number of images in a batch; the last batch may be smaller.
        finish: as for `train_batches`.

    Returns:
        A dataset of pairs: images, float32 `[B, crop, crop, 3]` in [-1, 1], and one-hot labels,
        float32 `[B, num_classes]`, as in `train_batches`.
    """

    def example(element: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        read = task.test.read(element)
        image = resize(decode(read["image"], task.background), crop)
        return preprocess(image), _hot(read["label"], task.num_classes)

    num_batches = -(-task.num_test_examples // batch_size)
    elements = task.test.elements()
    batches = elements.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).batch(
        batch_size
    )
    if finish is not None:
        batches = batches.map(finish, num_parallel_calls=1)
    batches = (
        batches.apply(tf.data.experimental.assert_cardinality(num_batches))
        .prefetch(_PREFETCH)
        .with_options(_shared_by_rows())
    )
    return remember_source(batches, task, task.test, elements)


def _shared_by_rows() -> tf.data.Options:
    """Returns tf.data options that give each of several workers a part of every batch.

    By default TensorFlow would give each worker some of the files.
    """
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options


def _hot(label: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Returns float32 `[num_classes]` with a 1 for each label; `label` is a scalar or a vector."""
    hot = tf.one_hot(label, num_classes)
    return hot if label.shape.rank == 0 else tf.minimum(tf.reduce_sum(hot, axis=0), 1.0)


def _augment(image: tf.Tensor, task: Task, rule: HyperRule, key: tf.Tensor) -> tf.Tensor:
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
    """Returns the seed, two integers, of the random operation at one position in a stream."""
    return tf.random.fold_in(tf.constant([seed, stream], tf.int64), position)


def _shuffled_forever(examples: Examples, seed: int, first: int) -> tf.data.Dataset:
    """Returns endless shuffled epochs of a task's elements, without the first `first` elements."""
    first_epoch, seen = divmod(first, examples.num_examples)
    elements = examples.elements()
    buffer = examples.shuffle_buffer or examples.num_examples

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        # Within this function, tf.random.set_seed changes only the function's own graph. Without
        # the call, the user's global seed would change the shuffling.
        tf.random.set_seed(1)
        key = _key(seed, _SHUFFLE, number)
        # Dataset.shuffle takes one number of 31 bits as its seed, which is drawn here from the key
        # of two numbers.
        shuffle_seed = tf.random.stateless_uniform([], key, 0, tf.int32.max, tf.int64)
        return elements.shuffle(buffer, shuffle_seed, reshuffle_each_iteration=False)

    return tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch).skip(seen)

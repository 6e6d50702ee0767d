"""Images a second of the pipeline, beside bare decoding and beside the official code's steps.

    python tests/benchmarks/pipeline.py

Takes the three in turn, again and again, in training (with mixup) and in the test, on JPEGs of
500x375 (windows of two photographs, quality 95, 78 KB on average) held in memory. Bare decoding
is `tf.image.decode_jpeg` alone in the same parallel map: its images are not even copied. The
official steps are those of google-research/big_transfer, input_pipeline_tf2_or_jax.py, at the same
sizes. A ratio is of two neighbours in time, so another load of the machine falls on both.

Fails if the pipeline has less than 70 % of bare decoding at 160/128, or is slower than the official
steps anywhere, in three of four rounds: the work of the two is the same but for details, and of
equals each is the slower one in half of the rounds.
"""

import dataclasses
import statistics
import sys
import time

import tensorflow as tf
from absl import app, flags
from photographs import jpegs

from bit_keras.data import pipeline
from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task
from bit_keras.hyperrule import HyperRule

_ROUNDS = flags.DEFINE_integer("rounds", 31, "How often each is timed.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images a batch.")

_WIDTH, _HEIGHT, _CLASSES = 500, 375, 1000
_SIZES = ((160, 128), (448, 384))
_WARM_UP, _TIMED = 4, 12  # batches

_OF_DECODING, _OF_OFFICIAL = 0.7, 1.0
_DECODING_BOUND_AT = (160, 128)


def made_task(count):
    held = {"image": jpegs(count, _WIDTH, _HEIGHT), "label": tf.range(count, dtype=tf.int64)}
    examples = Examples(
        num_examples=count,
        elements=lambda: tf.data.Dataset.from_tensor_slices(held),
        read=lambda element: element,
    )
    names = tuple(map(str, range(_CLASSES)))
    return Task("photographs", names, (_HEIGHT, _WIDTH), examples, examples)


def bare_decoding(task, rule):
    def first_value(element):
        return tf.image.decode_jpeg(element["image"], channels=3)[0, 0, 0]

    elements = task.train.elements().repeat().map(first_value, tf.data.AUTOTUNE)
    return elements.batch(rule.batch_size).take(rule.steps).prefetch(1)


def official(task, rule, is_training):
    """The steps of the official `get_data`, with its faults: every image is flipped."""

    def preprocessed(element):
        image = tf.image.decode_image(element["image"], channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        if is_training:
            image = tf.image.resize(image, [rule.resize, rule.resize])
            image = tf.image.random_crop(image, [rule.crop, rule.crop, 3])
            image = tf.image.flip_left_right(image)
        else:
            image = tf.image.resize(image, [rule.crop, rule.crop])
        return (image - 127.5) / 127.5, tf.one_hot(element["label"], task.num_classes)

    def mixed(images, labels):
        # tfp.distributions.Beta draws two Gammas as well.
        gammas = tf.random.gamma([2], rule.mixup_alpha)
        beta = gammas[0] / tf.reduce_sum(gammas)
        images = beta * images + (1 - beta) * tf.reverse(images, axis=[0])
        return images, beta * labels + (1 - beta) * tf.reverse(labels, axis=[0])

    data = task.train.elements().cache().repeat()
    if is_training:
        data = data.shuffle(task.num_examples)
    data = data.map(preprocessed, tf.data.AUTOTUNE)
    data = data.batch(rule.batch_size, drop_remainder=True)
    if is_training:
        data = data.map(mixed, tf.data.AUTOTUNE)
    return data.take(rule.steps).prefetch(1)


def rate(batches, batch_size):
    """Returns images a second once the pipeline runs."""
    iterator = iter(batches)
    for _ in range(_WARM_UP):
        next(iterator)
    start = time.perf_counter()
    count = sum(batch_size for _ in iterator)
    return count / (time.perf_counter() - start)


def measure(task, rule, is_training):
    """Prints a row of the table; returns what is too slow."""
    ours = (
        pipeline.train_batches(task, rule)
        if is_training
        else pipeline.test_batches(task, rule.crop, rule.batch_size)
    )
    contenders = ours, bare_decoding(task, rule), official(task, rule, is_training)
    rounds = [
        [rate(contender, rule.batch_size) for contender in contenders] for _ in range(_ROUNDS.value)
    ]
    medians = [f"{statistics.median(rates):.0f}" for rates in zip(*rounds, strict=True)]
    of_decoding = [ours / decoding for ours, decoding, _ in rounds]
    of_official = [ours / official for ours, _, official in rounds]
    name = f"{'train' if is_training else 'test'} {rule.resize}/{rule.crop}"
    print(
        f"| {name} | {' | '.join(medians)} | {spread(of_decoding)} | {spread(of_official)} |",
        flush=True,
    )
    bounds = {"official steps": (of_official, _OF_OFFICIAL)}
    if (rule.resize, rule.crop) == _DECODING_BOUND_AT:
        bounds["bare decoding"] = (of_decoding, _OF_DECODING)
    return [
        f"{name}: {spread(ratios)} of {what}, expected at least {bound}"
        for what, (ratios, bound) in bounds.items()
        if statistics.quantiles(ratios)[2] < bound
    ]


def spread(ratios):
    low, _, high = statistics.quantiles(ratios)
    return f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"


def main(_):
    batch_size, steps = _BATCH_SIZE.value, _WARM_UP + _TIMED
    task = made_task(batch_size * steps)
    print(f"Median of {_ROUNDS.value} rounds, in parentheses the middle half of the ratios.")
    print("| | images/s | bare decoding | official steps | of bare decoding | of official steps |")
    print("|---|---|---|---|---|---|")
    misses = []
    for resize, crop in _SIZES:
        rule = HyperRule.for_task(task.num_examples, task.image_size).scaled(
            batch_size=batch_size, steps=steps, resize=resize, crop=crop
        )
        rule = dataclasses.replace(rule, mixup_alpha=0.1)
        for is_training in (True, False):
            misses += measure(task, rule, is_training)
    sys.exit("\n".join(["Too slow:", *misses]) if misses else 0)


if __name__ == "__main__":
    app.run(main)

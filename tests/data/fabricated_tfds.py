"""Prepared TFDS datasets without a download: real builders, their features, made-up records."""

import functools
import io

import keras
import numpy as np
import tensorflow_datasets as tfds
from networks import tiny
from PIL import Image

import bit_keras
from bit_keras.data import pipeline
from bit_keras.hyperrule import HyperRule

tfds.disable_progress_bar()

# Where the builder does not fix the size of its images.
HEIGHT, WIDTH = 10, 14


def prepare(name, data_dir, counts, max_pixel=255, **features):
    """Writes `counts[split]` records of each split, and returns the builder.

    Record i has the label i modulo the number of classes. `features` maps a feature to the
    function that makes its value of i.
    """
    builder = tfds.builder(name, data_dir=data_dir)

    def examples(split):
        for index in range(counts[split]):
            example = {
                key: features[key](index) if key in features else _value(feature, index, max_pixel)
                for key, feature in builder.info.features.items()
            }
            yield f"{split}{index}", example

    builder._split_generators = lambda manager: {split: examples(split) for split in counts}
    builder.download_and_prepare()
    return builder


def small_rule(task):
    """The task's rule, for two steps of four images of 32 pixels."""
    rule = HyperRule.for_task(task.num_examples, task.image_size)
    return rule.scaled(batch_size=4, steps=2, resize=36, crop=32)


def read_all(task):
    """Returns the labels of two training batches and of the whole test split, both as numbers."""
    rule = small_rule(task)
    sets = pipeline.train_batches(task, rule), pipeline.test_batches(task, rule.crop, batch_size=64)
    labels = []
    for batches in sets:
        parts = list(batches.as_numpy_iterator())
        images = np.concatenate([images for images, _ in parts])
        assert images.shape[1:] == (32, 32, 3)
        assert -1 <= images.min() < images.max() <= 1
        labels.append(np.concatenate([one_hot for _, one_hot in parts]))
        assert labels[-1].shape[1] == task.num_classes
        np.testing.assert_allclose(labels[-1].sum(axis=1), 1, rtol=1e-6)
    return labels[0].argmax(axis=1), labels[1].argmax(axis=1)


def train_and_evaluate(task):
    """Returns the metrics of a tiny network after two steps."""
    rule = small_rule(task)
    model = tiny(classes=task.num_classes, input_shape=(32, 32, 3))
    model.compile("sgd", loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    model.fit(pipeline.train_batches(task, rule), shuffle=False, verbose=0)
    return bit_keras.evaluate(model, task, rule)


def png(array):
    """The encoded image, as a file."""
    stream = io.BytesIO()
    Image.fromarray(array.squeeze()).save(stream, "png")
    return io.BytesIO(stream.getvalue())


@functools.cache
def _image_bytes(shape, max_pixel, variant):
    height, width, channels = (
        size or default for size, default in zip(shape, (HEIGHT, WIDTH, 3), strict=True)
    )
    rng = np.random.default_rng(variant)
    coarse = rng.integers(0, max_pixel + 1, [-(-height // 8), -(-width // 8), channels], np.uint8)
    fine = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return png(fine).getvalue()


def _value(feature, index, max_pixel):
    if isinstance(feature, tfds.features.Image):
        return io.BytesIO(_image_bytes(feature.shape, max_pixel, index % 5))
    if isinstance(feature, tfds.features.ClassLabel):
        return index % feature.num_classes
    if isinstance(feature, tfds.features.Text):
        return str(index)
    if isinstance(feature, tfds.features.BBoxFeature):
        return tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
    if isinstance(feature, tfds.features.Sequence):
        return [_value(feature.feature, index + k, max_pixel) for k in range(3 + index % 8)]
    if isinstance(feature, tfds.features.FeaturesDict):
        return {key: _value(part, index, max_pixel) for key, part in feature.items()}
    return np.full(feature.shape, 1 + index % 9, feature.np_dtype)

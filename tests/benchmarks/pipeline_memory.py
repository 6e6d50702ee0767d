"""Peak memory of reading a TFDS dataset to its end, for a small one and for a large one.

    python tests/benchmarks/pipeline_memory.py --gigabytes 10

Writes JPEGs of 500x375 (78 KB on average) as a dataset of TFDS into the temporary directory, of 1
GB and of --gigabytes. For each a process of its own reads 80 % of it by `train_batches`, for one
epoch and a batch of the next, and the rest by `test_batches`: at 160/128, in batches of 512 with
mixup. The peak is that of the resident set, and includes TensorFlow itself.

Fails if the large one's peak is more than 10 % above the small one's, or 2 GB.
"""

import dataclasses
import itertools
import resource
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags
from own_process import answer_of
from photographs import jpegs

_GIGABYTES = flags.DEFINE_integer("gigabytes", 10, "Size of the large dataset.")

_SMALL_GIGABYTES = 1
_BOUND, _GROWTH = 2e9, 1.1

_PHOTOGRAPHS, _SHARD_BYTES, _CLASSES = 256, 10**8, 10
_BATCH_SIZE, _RESIZE, _CROP = 512, 160, 128


def write(folder, num_bytes):
    """Writes so many bytes of JPEGs as a dataset of TFDS."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    images = jpegs(_PHOTOGRAPHS, 500, 375)
    shards = num_bytes // _SHARD_BYTES
    per_shard = _SHARD_BYTES * len(images) // sum(map(len, images))
    source = itertools.cycle(images)
    for shard in range(shards):
        name = f"photographs-train.tfrecord-{shard:05d}-of-{shards:05d}"
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for label, image in enumerate(itertools.islice(source, per_shard)):
                writer.write(record(image, label % _CLASSES))
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder),
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(num_classes=_CLASSES),
            }
        ),
        split_infos=[
            tfds.core.SplitInfo(
                name="train",
                shard_lengths=[per_shard] * shards,
                num_bytes=num_bytes,
                filename_template=tfds.core.ShardedFileTemplate(
                    dataset_name="photographs",
                    data_dir=folder,
                    split="train",
                    filetype_suffix="tfrecord",
                ),
            )
        ],
    )


def record(image, label):
    import tensorflow as tf

    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def read(folder, answer):
    """Reads the dataset to its end; sends seconds, images and the peak in bytes."""
    import tensorflow_datasets as tfds

    from bit_keras.data import pipeline, tfds_tasks
    from bit_keras.hyperrule import HyperRule

    builder = tfds.builder_from_directory(folder)
    reading = tfds_tasks.Reading("image", tfds_tasks.class_label(builder.info, "label"))
    task = tfds_tasks.build("photographs", builder, "train[:80%]", "train[80%:]", reading)
    rule = HyperRule.for_task(task.num_examples, task.image_size).scaled(
        batch_size=_BATCH_SIZE,
        steps=task.num_examples // _BATCH_SIZE + 2,
        resize=_RESIZE,
        crop=_CROP,
    )
    rule = dataclasses.replace(rule, mixup_alpha=0.1)
    start = time.perf_counter()
    count = 0
    for batches in (
        pipeline.train_batches(task, rule),
        pipeline.test_batches(task, rule.crop, _BATCH_SIZE),
    ):
        count += sum(len(images) for images, _ in batches)
    seconds = time.perf_counter() - start
    answer.send((seconds, count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def measure(gigabytes):
    """Prints a row of the table; returns the peak in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), gigabytes * 10**9)
        seconds, count, peak = answer_of(read, folder)
    rate = count / seconds
    print(f"| {gigabytes} GB | {count} | {rate:.0f} | {peak / 1e9:.2f} GB |", flush=True)
    return peak


def main(_):
    print("| dataset | images read | images/s | peak memory |")
    print("|---|---|---|---|")
    small, large = (measure(gigabytes) for gigabytes in (_SMALL_GIGABYTES, _GIGABYTES.value))
    if large > _BOUND or large > _GROWTH * small:
        sys.exit("Too much: expected at most 2 GB, and at most 10 % more for the large dataset.")


if __name__ == "__main__":
    app.run(main)

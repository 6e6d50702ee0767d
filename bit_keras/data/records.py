"""TFRecord files of encoded images with one or several labels, read as a stream.

Each record is a `tf.train.Example` with

    image/encoded        bytes: JPEG, PNG, BMP or GIF
    image/class/label    int64, none, one or several, each from 0 on

and labels.txt beside the files has the name of each class, one a line.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import tensorflow as tf

# The records are taken for shuffled, as programs that write them do: 256 MB of JPEGs of ImageNet's
# size, 120 kB, are held to be shuffled further, as of a large dataset of TFDS.
SHUFFLE_BUFFER = 2_200

_NAMES = "labels.txt"

# A record: its length, 8 bytes; their checksum, 4; its bytes; their checksum, 4.
_HEADER, _FOOTER = 12, 4


def find_files(folder: Path) -> list[str]:
    """Returns the TFRecord files of a folder, sorted: what has `tfrecord` in its name.

    Raises:
        OSError: there is no such folder.
    """
    return sorted(
        str(folder / name)
        for name in os.listdir(folder)
        if "tfrecord" in name and not name.startswith(".")
    )


def read_class_names(folder: Path) -> tuple[str, ...]:
    """Returns the names in labels.txt.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it names fewer than two classes.
    """
    file = folder / _NAMES
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no {file}: expected the name of each class, one a line, in the order of the "
            "labels in the TFRecord files."
        )
    names = tuple(file.read_text(encoding="utf-8").split("\n"))
    names = names[:-1] if names[-1] == "" else names
    if len(names) < 2:
        raise ValueError(f"{file} names {len(names)} classes; expected at least two, one a line.")
    return names


def count(files: list[str]) -> int:
    """Returns how many records there are; only their lengths are read.

    Raises:
        ValueError: a file ends within a record.
    """
    return sum(map(_count, files))


def _count(file: str) -> int:
    size, records = os.path.getsize(file), 0
    with open(file, "rb") as stream:
        while stream.tell() < size:
            header = stream.read(_HEADER)
            length = struct.unpack_from("<Q", header)[0] if len(header) == _HEADER else size
            if stream.tell() + length + _FOOTER > size:
                raise ValueError(
                    f"{file} ends within record {records + 1}: it is no TFRecord file, is "
                    "compressed, or was cut off. Copy or write it again."
                )
            stream.seek(length + _FOOTER, os.SEEK_CUR)
            records += 1
    return records


def elements(files: list[str]) -> tf.data.Dataset:
    """Returns `{"record"}`, the bytes of each record, file after file."""
    return tf.data.TFRecordDataset(files).map(lambda record: {"record": record})


def parse(record: tf.Tensor, num_classes: int) -> dict[str, tf.Tensor]:
    """Returns the image, encoded, and its labels, int64 `[k]`, of a record.

    Args:
        record: bytes of a `tf.train.Example`.
        num_classes: above each label.
    """
    example = tf.io.parse_single_example(
        record,
        {
            "image/encoded": tf.io.FixedLenFeature([], tf.string),
            "image/class/label": tf.io.RaggedFeature(tf.int64),
        },
    )
    labels = example["image/class/label"]
    in_range = tf.debugging.Assert(
        tf.reduce_all((labels >= 0) & (labels < num_classes)),
        [f"TFRecord files: a label is not in 0 to {num_classes - 1}, but", labels],
    )
    with tf.control_dependencies([in_range]):
        return {"image": example["image/encoded"], "label": tf.identity(labels)}

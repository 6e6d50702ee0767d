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
from google.protobuf.message import DecodeError

# The records are taken for shuffled, as programs that write them do: 256 MB of JPEGs of ImageNet's
# size, 120 kB, are held to be shuffled further, as of a large dataset of TFDS.
SHUFFLE_BUFFER = 2_200

_NAMES = "labels.txt"

_IMAGE, _LABEL = "image/encoded", "image/class/label"

# An image without labels may lack their key, but hardly so many in a row.
_LOOKED_AT = 100

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
        if "tfrecord" in name and not name.startswith(".") and (folder / name).is_file()
    )


def read_class_names(folder: Path) -> tuple[str, ...]:
    """Returns the names in labels.txt.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it names fewer than two classes, or a line is blank.
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
    blank = [number for number, name in enumerate(names, 1) if not name.strip()]
    if blank:
        raise ValueError(
            f"{file}: line {blank[0]} of {len(names)} is blank; expected the name of a class on "
            "each, since the lines are counted by the labels. Name the class, or remove the line."
        )
    return names


def check_keys(files: list[str]) -> None:
    """Looks whether the first records have images and labels under the keys that `parse` takes.

    Raises:
        ValueError: they have not.
    """
    found = set()
    for record in tf.data.TFRecordDataset(files).take(_LOOKED_AT).as_numpy_iterator():
        try:
            found |= set(tf.train.Example.FromString(record).features.feature)
        except DecodeError as error:
            raise ValueError(f"{files[0]} has a record that is no tf.train.Example.") from error
        if {_IMAGE, _LABEL} <= found:
            return
    raise ValueError(
        f"{files[0]}: the first records have the keys {', '.join(sorted(found)) or 'none'}; "
        f"expected {_IMAGE} (bytes) and {_LABEL} (int64). Write the records with these."
    )


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
    """Returns `{"record", "path", "number"}`, file after file: the bytes of each record, its file,
    and its place there, from 0 on."""

    def of_file(file: tf.Tensor) -> tf.data.Dataset:
        return (
            tf.data.TFRecordDataset(file)
            .enumerate()
            .map(lambda number, record: {"record": record, "path": file, "number": number})
        )

    return tf.data.Dataset.from_tensor_slices(files).flat_map(of_file)


def parse(record: tf.Tensor, num_classes: int) -> dict[str, tf.Tensor]:
    """Returns the image, encoded, and its labels, int64 `[k]`, of a record.

    Args:
        record: bytes of a `tf.train.Example`.
        num_classes: above each label.
    """
    example = tf.io.parse_single_example(
        record,
        {
            _IMAGE: tf.io.FixedLenFeature([], tf.string),
            _LABEL: tf.io.RaggedFeature(tf.int64),
        },
    )
    labels = example[_LABEL]
    in_range = tf.debugging.Assert(
        tf.reduce_all((labels >= 0) & (labels < num_classes)),
        [f"a label is not in 0 to {num_classes - 1}, but", labels],
    )
    with tf.control_dependencies([in_range]):
        return {"image": example[_IMAGE], "label": tf.identity(labels)}

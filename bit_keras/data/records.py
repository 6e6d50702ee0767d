"""The task "tfrecords:FOLDER": TFRecord files of encoded images and their labels.

The files are read as a stream. Each record is a `tf.train.Example` with two features:

    image/encoded        bytes: an image in any format that TensorFlow or Pillow reads
    image/class/label    int64: the labels of the image, none or more, counted from 0

The file labels.txt in the same folder has the name of each class, one on each line.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from bit_keras.data import subsets
from bit_keras.data.decoding import colour_of
from bit_keras.data.examples import Examples
from bit_keras.data.tasks import TYPICAL_SIZE, Task
from bit_keras.data.transforms import checked_label
from bit_keras.utils.text_file import read_text

# Number of records that are held in memory to be shuffled: 256 MB of JPEGs of ImageNet's mean size,
# as for a large dataset of TFDS. Programs that write TFRecord files usually shuffle the records.
SHUFFLE_BUFFER = 2_200

_NAMES = "labels.txt"

_IMAGE, _LABEL = "image/encoded", "image/class/label"

# Number of records in which the features "image/encoded" and "image/class/label" are looked for. An
# image without labels may lack the second feature, but 100 such records in a row are unlikely.
_LOOKED_AT = 100

# Number of bytes before and after the content of a record in a TFRecord file. The header is the
# length of the content (8 bytes) and its checksum (4 bytes); the footer is the checksum of the
# content (4 bytes).
_HEADER, _FOOTER = 12, 4


def load(name: str, folder: str | os.PathLike, *, background: str = "white") -> Task:
    """Returns the task of the TFRecord files in a folder; the first images are the test split.

    Args:
        name: the task's name.
        folder: the folder of the files and of labels.txt; `~` is the home directory.
        background: the colour behind transparent pixels: a name or a code such as "#ff8000".

    Raises:
        OSError: there is no such folder, or it has no TFRecord file or no labels.txt.
        ValueError: a file or labels.txt cannot be used.
    """
    folder, background = Path(folder).expanduser(), colour_of(background)
    files = find_files(folder)
    if not files:
        raise FileNotFoundError(
            f"There is no TFRecord file in {folder}. Expected files with 'tfrecord' in their names."
        )
    class_names = read_class_names(folder)
    total = count(files)
    check_keys(files)
    examples = Examples(
        num_examples=total,
        elements=lambda: elements(files),
        read=lambda element: parse(element["record"], len(class_names)),
        shuffle_buffer=SHUFFLE_BUFFER,
    )
    everything = Task(
        name,
        class_names,
        TYPICAL_SIZE,
        train=examples,
        test=examples,
        several_labels=True,
        background=background,
        source=f"{len(files)} TFRecord files of {total} images: "
        f"{os.path.basename(files[0])} to {os.path.basename(files[-1])}",
    )
    return subsets.with_test_split(everything)


def find_files(folder: Path) -> list[str]:
    """Returns the files of a folder that have `tfrecord` in their names, sorted.

    Raises:
        OSError: there is no such folder.
    """
    return sorted(
        str(folder / name)
        for name in os.listdir(folder)
        if "tfrecord" in name and not name.startswith(".") and (folder / name).is_file()
    )


def read_class_names(folder: Path) -> tuple[str, ...]:
    """Returns the class names in the file labels.txt.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not UTF-8, names fewer than two classes, or a line is blank.
    """
    file = folder / _NAMES
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no file {file}. Expected the name of each class on a line of its own, in "
            "the order of the labels in the TFRecord files."
        )
    names = tuple(read_text(file).split("\n"))
    names = names[:-1] if names[-1] == "" else names
    if len(names) < 2:
        raise ValueError(
            f"{file} names {len(names)} classes. Expected at least two, each on a line of its own."
        )
    blank = [number for number, name in enumerate(names, 1) if not name.strip()]
    if blank:
        raise ValueError(
            f"{file}: line {blank[0]} of {len(names)} is blank. Expected the name of a class on "
            "each line, because a label is the number of a line. Write the name, or remove the "
            "line."
        )
    return names


def check_keys(files: list[str]) -> None:
    """Raises a ValueError if the first records lack the features for images or labels."""
    found = set()
    for record in (
        tf.data.TFRecordDataset(list(map(os.fsencode, files))).take(_LOOKED_AT).as_numpy_iterator()
    ):
        try:
            found |= set(tf.train.Example.FromString(record).features.feature)
        except DecodeError as error:
            raise ValueError(
                f"{files[0]} has a record that is no tf.train.Example. Write the records as "
                f"tf.train.Example with {_IMAGE} and {_LABEL}."
            ) from error
        if {_IMAGE, _LABEL} <= found:
            return
    raise ValueError(
        f"{files[0]}: the first records have the features {', '.join(sorted(found)) or 'none'}; "
        f"expected {_IMAGE} (bytes) and {_LABEL} (int64). Write the records with these features."
    )


def count(files: list[str]) -> int:
    """Returns the number of records in the files; only the lengths of the records are read.

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
                    f"{file} ends within record {records + 1}: it is compressed, or was "
                    "cut off, or is not a TFRecord file. Copy it again, or write it again without "
                    "compression."
                )
            stream.seek(length + _FOOTER, os.SEEK_CUR)
            records += 1
    return records


def elements(files: list[str]) -> tf.data.Dataset:
    """Returns a dataset of dicts with the keys "record", "path" and "number", file after file.

    They are the bytes of a record, the path of its file, and its number in the file, counted from
    0.
    """

    def of_file(file: tf.Tensor) -> tf.data.Dataset:
        return (
            tf.data.TFRecordDataset(file)
            .enumerate()
            .map(lambda number, record: {"record": record, "path": file, "number": number})
        )

    return tf.data.Dataset.from_tensor_slices(list(map(os.fsencode, files))).flat_map(of_file)


def parse(record: tf.Tensor, num_classes: int) -> dict[str, tf.Tensor]:
    """Parses a record; returns its encoded image and its labels, int64 `[k]`.

    Args:
        record: the bytes of a `tf.train.Example`.
        num_classes: the number of classes; a label outside `[0, num_classes)` is an error.
    """
    example = tf.io.parse_single_example(
        record,
        {
            _IMAGE: tf.io.FixedLenFeature([], tf.string),
            _LABEL: tf.io.RaggedFeature(tf.int64),
        },
    )
    return {"image": example[_IMAGE], "label": checked_label(example[_LABEL], num_classes)}

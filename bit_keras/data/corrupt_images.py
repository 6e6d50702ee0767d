"""Finds out which image or record cannot be read, because TensorFlow's errors do not name it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf
from absl import logging
from tqdm import tqdm

from bit_keras.data.decoding import decode
from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task
from bit_keras.utils.regular_file import read_regular_file

# The exceptions that TensorFlow raises when it fails to read a file, to parse a record, to check a
# label or to decode an image.
READING_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    # TensorFlow raises FailedPreconditionError if the path of an image is a folder.
    tf.errors.FailedPreconditionError,
    tf.errors.DataLossError,
    # Decoders raise the following errors for odd images, and file systems for a failing disk.
    tf.errors.ResourceExhaustedError,
    tf.errors.UnimplementedError,
    tf.errors.UnknownError,
    tf.errors.InternalError,
    tf.errors.OutOfRangeError,
)


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
    task: Task
    examples: Examples
    elements: tf.data.Dataset


# Maps each dataset of batches to the examples that it was made from. The examples are not stored as
# an attribute of the dataset, because Keras accepts only plain datasets.
_SOURCES: weakref.WeakKeyDictionary[tf.data.Dataset, _Source] = weakref.WeakKeyDictionary()


def remember_source(
    batches: tf.data.Dataset, task: Task, examples: Examples, elements: tf.data.Dataset
) -> tf.data.Dataset:
    """Stores the examples of some batches, to find corrupt images later; returns the batches.

    Args:
        batches: the batches, which are made from the elements.
        task: the task.
        examples: the examples of the task that the elements belong to.
        elements: the elements in the order of the batches, from the first one on; all of them may
            be read again.
    """
    _SOURCES[batches] = _Source(task, examples, elements)
    return batches


@contextlib.contextmanager
def naming_unreadable(batches: Callable[[], tf.data.Dataset]) -> Iterator[None]:
    """If the `with` block cannot read an image, the error names the image's file or record.

    The elements of the batches are read again, one by one, up to the first one that fails.

    Args:
        batches: returns the batches that the block reads, as `pipeline` makes them, beginning with
            the batch that was asked for last.

    Raises:
        ValueError: an element cannot be read.
    """
    try:
        yield
    except READING_ERRORS as error:
        source = _SOURCES.get(batches())
        problem = None if source is None else _first_problem(source)
        # If all images can be read, TensorFlow's error has another cause and is raised unchanged.
        if problem is None:
            raise
        raise ValueError(
            f"{source.task.name}: {problem}. Expected a complete image, and labels of the task's "
            "classes. Repair it in its place, and the same call continues; or remove it from the "
            "data. With skip_corrupt=True (--skip_corrupt), image files that cannot be decoded are "
            "left out."
        ) from error


def plain_message(error: tf.errors.OpError) -> str:
    """Returns the message of an error without TensorFlow's notes on nodes of a graph."""
    # If a Python function in the graph failed, TensorFlow's message holds its traceback, and then
    # "ValueError:" with the message of that function, which is returned.
    of_python = re.findall(r"^ValueError: (.+)$", error.message, re.MULTILINE)
    if of_python:
        return of_python[-1]
    # In other messages of TensorFlow, the traceback of the graph comes first, and names of nodes
    # are in {{ }} and [[ ]]; these parts are cut off.
    text = error.message.rpartition("\n\n")[2]
    text = re.sub(r"\{\{.*?\}\} ?|\s*\[\[.*|\s*\[Op:.*", "", text, flags=re.DOTALL)
    asserted = text.removeprefix("assertion failed: ")
    return text if asserted == text else asserted.strip("[]").replace("] [", " ")


def _first_problem(source: _Source) -> str | None:
    # The images are read in a graph, because the message of a failed Assert is longer in eager
    # mode.
    read = tf.function(
        lambda element: decode(source.examples.read(element)["image"], source.task.background),
        reduce_retracing=True,
    )
    try:
        for element in source.elements:
            try:
                read(element)
            except READING_ERRORS as error:
                return f"{_place(element)} cannot be read: {plain_message(error)}"
    except READING_ERRORS as error:
        place = f"what follows {_last_readable(source.examples)}"
        return f"{place} cannot be read: {plain_message(error)}"
    return None


def _last_readable(examples: Examples) -> str:
    """Returns the path or record of the last image that can be read, in the unshuffled order.

    The order of an epoch does not show it, because shuffling reads ahead.
    """
    place = "the beginning"
    with contextlib.suppress(*READING_ERRORS):
        for element in examples.elements():
            place = _place(element)
    return place


def _place(element: dict[str, tf.Tensor]) -> str:
    if "path" not in element:
        return "an image"
    path = os.fsdecode(element["path"].numpy())
    return f"record {int(element['number'])} of {path}" if "number" in element else path


# A progress bar is shown only for more images than this number, because fewer images are decoded in
# a moment.
_SHOW_PROGRESS_ABOVE = 500

# An error message lists at most this number of corrupt files.
_MAX_LISTED = 10

# Number of images that are given to the decoding threads at a time. Millions of images at once
# would fill the memory.
_CHUNK = 1024


def decode_all(
    images: Sequence[str | os.PathLike], skip_corrupt: bool
) -> list[tuple[int, int] | None]:
    """Decodes image files; returns (height, width) of each, and None for an image left out.

    Args:
        images: the paths of the images.
        skip_corrupt: if True, leave out images that cannot be decoded, with a warning for each.

    Raises:
        ValueError: images cannot be decoded; the message names the first ten.
    """
    outcomes = []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(
            desc="Decoding every image once",
            total=len(images),
            # With disable=None, tqdm shows the progress bar only on a terminal.
            disable=len(images) <= _SHOW_PROGRESS_ABOVE or None,
        ) as progress,
    ):
        for start in range(0, len(images), _CHUNK):
            for outcome in pool.map(_size_or_problem, images[start : start + _CHUNK]):
                outcomes.append(outcome)
                progress.update()
    broken = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, str)]
    if broken and not skip_corrupt:
        listed = [f"{images[i]}: {outcomes[i]}" for i in broken[:_MAX_LISTED]]
        if len(broken) > _MAX_LISTED:
            listed.append(f"and {len(broken) - _MAX_LISTED} more")
        raise ValueError(
            f"{len(broken)} of {len(images)} images cannot be decoded. Repair or remove them, or "
            "leave them out with skip_corrupt=True (--skip_corrupt).\n  " + "\n  ".join(listed)
        )
    for i in broken:
        logging.warning("Left out %s: it cannot be decoded: %s", images[i], outcomes[i])
        outcomes[i] = None
    return outcomes


def _size_or_problem(image: str | os.PathLike) -> tuple[int, int] | str:
    """Returns height and width of an image file, or the reason why the image cannot be used."""
    try:
        return tuple(_size(tf.constant(read_regular_file(image))).numpy().tolist())
    except (OSError, MemoryError) as error:
        return str(error) or "there is not enough memory to read it"
    except tf.errors.OpError as error:
        return plain_message(error)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _size(encoded: tf.Tensor) -> tf.Tensor:
    return tf.shape(decode(encoded))[:2]

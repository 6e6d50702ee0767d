"""Which image or record it is that cannot be read, where TensorFlow says only that one cannot."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import weakref
from collections.abc import Callable, Iterator

import tensorflow as tf

from bit_keras.data.tasks import Examples

# What reading a file, parsing a record, checking a label and decoding an image end with.
READING_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.FailedPreconditionError,  # of a folder where a file is expected
    tf.errors.DataLossError,
)


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
    name: str
    examples: Examples
    elements: tf.data.Dataset
    decode: Callable[[tf.Tensor], tf.Tensor]


# Beside the batches and not in them: Keras takes nothing but a plain dataset.
_SOURCES: weakref.WeakKeyDictionary[tf.data.Dataset, _Source] = weakref.WeakKeyDictionary()


def remember_source(
    batches: tf.data.Dataset,
    name: str,
    examples: Examples,
    elements: tf.data.Dataset,
    decode: Callable[[tf.Tensor], tf.Tensor],
) -> tf.data.Dataset:
    """Returns the batches, for which `naming_unreadable` can find what they cannot read.

    Args:
        batches: made of the elements.
        name: of the task.
        examples: whose elements they are.
        elements: in the order of the batches, from the first one on; all are looked at.
        decode: from an image as it is stored to its pixels.
    """
    _SOURCES[batches] = _Source(name, examples, elements, decode)
    return batches


@contextlib.contextmanager
def naming_unreadable(batches: Callable[[], tf.data.Dataset]) -> Iterator[None]:
    """Names the file or the record that the block could not read.

    The elements of the batches are read again, one by one, up to the first one that fails.

    Args:
        batches: returns those that the block reads: what `pipeline` makes, from the batch on that
            was asked for last.

    Raises:
        ValueError: one of them cannot be read.
    """
    try:
        yield
    except READING_ERRORS as error:
        source = _SOURCES.get(batches())
        problem = None if source is None else _first_problem(source)
        if problem is None:  # It was not for the data.
            raise
        raise ValueError(
            f"{source.name}: {problem}. Expected a whole JPEG, PNG, BMP or GIF, and labels of the "
            "task's classes. Mend it in its place, and the same call goes on; or take it out of "
            "the data. Of image files, skip_corrupt=True (--skip_corrupt) leaves out all that "
            "cannot be decoded."
        ) from error


def plain_message(error: tf.errors.OpError) -> str:
    """Returns what happened, without TensorFlow's notes on where in a graph it did."""
    # A graph's own traceback comes first; nodes are in {{ }} and [[ ]].
    text = error.message.rpartition("\n\n")[2]
    text = re.sub(r"\{\{.*?\}\} ?|\s*\[\[.*|\s*\[Op:.*", "", text, flags=re.DOTALL)
    asserted = text.removeprefix("assertion failed: ")
    return text if asserted == text else asserted.strip("[]").replace("] [", " ")


def _first_problem(source: _Source) -> str | None:
    # In a graph, where a failed Assert says its text alone.
    read = tf.function(
        lambda element: source.decode(source.examples.read(element)["image"]), reduce_retracing=True
    )
    try:
        for element in source.elements:
            try:
                read(element)
            except READING_ERRORS as error:
                return f"{_place(element)} cannot be read: {plain_message(error)}"
    except READING_ERRORS as error:
        return f"what follows {_last_readable(source.examples)} cannot be read: " + plain_message(
            error
        )
    return None


def _last_readable(examples: Examples) -> str:
    """Names the last element before the stream breaks: in its fixed order, since shuffling reads
    ahead."""
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

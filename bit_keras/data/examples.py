"""The class `Examples`: labelled images in a fixed order, which are read only when needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images in a fixed order, which are read only when the pipeline asks for them.

    An *element* is a dict of tensors that is cheap to shuffle (a path, a small array, the bytes of
    an image), and `read` makes an example from it. So an epoch is shuffled without reading a file.
    Errors name an element by its `path`, if it has one, and by its `number` in a file of records,
    counted from 0.

    Attributes:
        num_examples: number of images.
        elements: returns the `tf.data.Dataset` of elements, in the fixed order.
        read: traceable function from an element to `{"image", "label"}`. The image is encoded
            (a scalar string, for `bit_keras.data.decoding.decode`) or decoded (uint8 `[H, W, 3]`).
            The label is a scalar int64 in `[0, num_classes)`, or a vector of them in a task with
            several labels.
        labels: int64 `[num_examples]` in the same order, or None if they are not known before the
            elements are read.
        shuffle_buffer: number of elements that are held in memory to shuffle them; None holds all.
            A number is for elements that are large and are stored in random order.
    """

    num_examples: int
    elements: Callable[[], tf.data.Dataset]
    read: Callable[[Any], dict[str, tf.Tensor]]
    labels: np.ndarray | None = None
    shuffle_buffer: int | None = None

    def dataset(self) -> tf.data.Dataset:
        """Returns a dataset of the examples in their fixed order; encoded images stay encoded."""
        return self.elements().map(self.read)

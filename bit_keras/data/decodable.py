"""Which image files can be decoded; all are, once, before anything is trained."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging
from tqdm import tqdm

from bit_keras.data import pipeline
from bit_keras.data.unreadable import plain_message

# Fewer images are decoded before one can read a progress bar.
_SHOW_PROGRESS_ABOVE = 500

# So many broken files tell what is wrong; all of them could fill the screen.
_MAX_LISTED = 10

# Images that wait for a thread; of a list of millions, all at a time would fill the memory.
_CHUNK = 1024


def decode_all(
    images: Sequence[str | os.PathLike], skip_corrupt: bool
) -> list[tuple[int, int] | None]:
    """Returns height and width of each image, None for one that is left out.

    Args:
        images: paths.
        skip_corrupt: leave out what cannot be decoded, with a warning for each file.

    Raises:
        ValueError: an image cannot be decoded; the message names the first ten.
    """
    outcomes = []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(
            desc="Decoding every image once",
            total=len(images),
            disable=len(images) <= _SHOW_PROGRESS_ABOVE,
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
            f"{len(broken)} of {len(images)} images cannot be decoded: mend or remove them, or "
            "leave them out with skip_corrupt=True (--skip_corrupt).\n  " + "\n  ".join(listed)
        )
    for i in broken:
        logging.warning("Left out %s, which cannot be decoded: %s", images[i], outcomes[i])
        outcomes[i] = None
    return outcomes


def _size_or_problem(image: str | os.PathLike) -> tuple[int, int] | str:
    """Returns height and width of an image, or why training could not use it."""
    try:
        encoded = Path(image).read_bytes()
        height, width, _ = pipeline.decode(tf.constant(encoded)).shape
    except OSError as error:
        return str(error)
    except tf.errors.OpError as error:
        return plain_message(error)
    if _has_colour_table(encoded):
        return "TensorFlow would ignore the colour table of this BMP; save it as PNG."
    return height, width


def _has_colour_table(encoded: bytes) -> bool:
    """Returns whether this is a BMP whose 8-bit pixels are not simply grey values."""
    if encoded[:2] != b"BM":
        return False
    # The file header is 14 bytes; the offset of the pixels, the size of the next header and the
    # bits a pixel stand at these places. Between that header and the pixels: blue, green, red, 0.
    pixels, header = struct.unpack_from("<II", encoded, 10)
    (bits,) = struct.unpack_from("<H", encoded, 28)
    if bits != 8:
        return False
    table = np.frombuffer(encoded[14 + header : pixels], np.uint8).reshape(-1, 4)[:, :3]
    return bool((table != np.arange(len(table))[:, None]).any())

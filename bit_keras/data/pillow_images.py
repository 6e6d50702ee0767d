"""Recognises image files, and reads those that TensorFlow does not read, with Pillow."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from bit_keras.utils.regular_file import check_regular_file

# The formats that Pillow may read here. The other formats of Pillow are documents, stubs without a
# decoder, or formats such as EPS for which Pillow starts another program.
_FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM"),
    *("PSD", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM"),
)

# The tags of a TIFF that say how many bits a pixel has, and whether 0 is white.
_BITS, _PHOTOMETRIC = 258, 262

# The first bytes of JPEG XL files, which TensorFlow reads and Pillow does not, and of HEIC files,
# which neither reads.
JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_HEIC = re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL)


@functools.cache
def suffixes() -> tuple[str, ...]:
    """Returns the suffixes, in lower case, of the formats that Pillow may read here."""
    # Pillow reads an MPO file, which holds several JPEG images, as a JPEG file.
    formats = {*_FORMATS, "MPO"}
    known = Image.registered_extensions()
    return tuple(sorted(suffix for suffix, form in known.items() if form in formats))


def is_image(path: str | os.PathLike, without: Sequence[str] = ()) -> bool:
    """Returns True if a regular file begins like an image that TensorFlow or Pillow reads.

    Args:
        path: the file.
        without: Pillow's names of formats that do not count, such as "TIFF".
    """
    try:
        check_regular_file(path)
        with open(path, "rb") as file:
            if file.read(12).startswith(JPEG_XL):
                return True
            file.seek(0)
            with Image.open(file, formats=[name for name in _FORMATS if name not in without]):
                return True
    except Exception:  # Pillow raises exceptions of many types, so all are caught.
        return False


def read_rgba(encoded: bytes) -> np.ndarray:
    """Returns the first frame of an image, uint8 `[H, W, 4]`, with its orientation applied.

    Args:
        encoded: the content of an image file.

    Raises:
        ValueError: Pillow cannot read the image, or its values have no defined white.
    """
    try:
        with Image.open(BytesIO(encoded), formats=_FORMATS) as image:
            image.load()
            bits, is_inverted = _grey_levels(image)
            upright = ImageOps.exif_transpose(image)
    except Image.UnidentifiedImageError:
        raise ValueError(_unknown(encoded)) from None
    except Exception as error:  # Pillow raises exceptions of many types, so all are caught.
        raise ValueError(f"Pillow cannot read the image: {error}") from None
    if upright.mode.startswith("I"):
        greys = np.asarray(upright).astype(np.int64) >> (bits - 8)
        upright = Image.fromarray((255 - greys if is_inverted else greys).astype(np.uint8))
    return np.asarray(upright.convert("RGBA"))


def _grey_levels(image: Image.Image) -> tuple[int, bool]:
    """Returns the number of bits of a grey pixel, by default 16, and True if 0 means white.

    Raises:
        ValueError: the greys have 32 bits.
    """
    # Pillow scales the greys of a PGM file to 16 bits, although the image's mode, "I", means 32
    # bits.
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise ValueError(
            "the image has greys of 32 bits, for which no white is defined; save it with 8 or 16 "
            "bits"
        )
    tags = getattr(image, "tag_v2", {})
    return tags.get(_BITS, (16,))[0], tags.get(_PHOTOMETRIC) == 0


def _unknown(encoded: bytes) -> str:
    if not encoded:
        return "the file is empty"
    if _HEIC.match(encoded):
        return "it is HEIC, which neither TensorFlow nor Pillow reads; convert it to JPEG"
    return "it is not in a format that TensorFlow or Pillow reads"

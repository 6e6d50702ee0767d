"""Decodes images in TensorFlow's graph, with their transparency and orientation.

TensorFlow reads JPEG, PNG, WebP, JPEG XL, and some BMP and GIF files. Pillow reads the others:
TIFF, AVIF, JPEG 2000, and the BMP and GIF files of which TensorFlow would lose colours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf
from PIL import ImageColor

from bit_keras.data.pillow_images import JPEG_XL, read_rgba
from bit_keras.data.tasks import WHITE

# The image formats that an exported graph reads; it has no Python and therefore no Pillow.
READ_IN_GRAPH = (
    "JPEG, PNG, JPEG XL, WebP without animation, GIF without transparency, BMP of 24 or 32 bits "
    "or of 8-bit greys"
)

# The first bytes of JPEG files and of PNG files.
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"

# The marks that stand before the Exif block in JPEG, PNG and WebP files.
_EXIF_IN_JPEG, _EXIF_IN_PNG, _EXIF_IN_WEBP = b"Exif\0\0", b"eXIf", b"EXIF"

# The bytes that begin a segment APP1 of a JPEG, which may be the Exif block. The two bytes behind
# them are the length of the segment, and then the mark of the Exif block may follow.
_APP1 = b"\xff\xe1"

# The number of bytes at the start of an image that are looked at. The longest header is that of a
# BMP: 54 bytes and 256 colours of 4 bytes. Zeros are appended to shorter files.
_HEADER = 54 + 1024
_PADDING = b"\0" * _HEADER


def colour_of(text: str) -> tuple[int, int, int]:
    """Returns red, green and blue, 0 to 255, of a colour's name or hexadecimal code.

    Raises:
        ValueError: the text is not a colour.

    >>> colour_of("white"), colour_of("#0080ff")
    ((255, 255, 255), (0, 128, 255))
    """
    try:
        return ImageColor.getrgb(text)[:3]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"background={text!r}: expected the name of a colour, such as 'white' or 'grey', or "
            "its hexadecimal code, such as '#ff8000'."
        ) from error


def decode(
    image: tf.Tensor, background: tuple[int, int, int] = WHITE, use_pillow: bool = True
) -> tf.Tensor:
    """Returns an encoded image as uint8 `[H, W, 3]`; a decoded image is returned unchanged.

    Grey, palette, 16-bit and CMYK images become 8-bit RGB. An animation gives its first frame, and
    an EXIF orientation is applied.

    Args:
        image: a scalar string, or uint8 `[H, W, 3]`.
        background: red, green and blue of the colour that shows where the image is transparent.
        use_pillow: if False, only operations of TensorFlow are used, which an exported graph can
            hold, and images that TensorFlow cannot read right are errors.
    """
    if image.dtype != tf.string:
        return image
    image = _decoder(tuple(background), use_pillow)(image)
    image.set_shape([None, None, 3])
    return image


@functools.cache
def _decoder(background: tuple[int, int, int], use_pillow: bool) -> Callable:
    """Returns the function that `decode` calls; cached, because tracing it takes 0.2 seconds."""

    def decoder(image: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            _is_plain(image),
            lambda: _decode(image, channels=3),
            lambda: _decode_with_care(image, background, use_pillow),
        )

    return tf.function(decoder, autograph=False, input_signature=[tf.TensorSpec([], tf.string)])


def _decode(image: tf.Tensor, channels: int) -> tf.Tensor:
    return tf.io.decode_image(image, channels=channels, expand_animations=False)


# tf.data optimizes a graph again for each dataset. So the decoder's graph has few branches: in each
# image that is not plain, it looks for the marks of all formats.


def _is_plain(image: tf.Tensor) -> tf.Tensor:
    """Returns True for a JPEG or PNG without transparency and without an Exif block."""
    is_jpeg, is_png = _starts_with(image, _JPEG), _starts_with(image, _PNG)
    has_exif = tf.size(_split(image, tf.where(is_jpeg, _EXIF_IN_JPEG, _EXIF_IN_PNG))) > 1
    # A JPEG is not searched for the marks of a PNG, because copying the JPEG takes time.
    png = tf.where(is_png, image, b"")
    return (is_jpeg | (is_png & ~_has_alpha(png))) & ~has_exif


def _decode_with_care(
    image: tf.Tensor, background: tuple[int, int, int], use_pillow: bool
) -> tf.Tensor:
    """Decodes an image of any format; applies its orientation and fills its transparent pixels."""
    padded = tf.strings.join([image, _PADDING])
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(padded, 0, _HEADER), tf.uint8), tf.int32)
    is_jpeg, is_png = _starts_with(image, _JPEG), _starts_with(image, _PNG)
    is_webp = _starts_with(image, b"RIFF") & tf.equal(tf.strings.substr(padded, 8, 4), b"WEBP")
    is_animated = tf.equal(tf.strings.substr(padded, 12, 4), b"VP8X") & (data[20] // 2 % 2 == 1)
    # TensorFlow's decoder of JPEG XL applies the orientation, so none is looked for in such a file.
    is_jpeg_xl = _starts_with(image, JPEG_XL[0]) | _starts_with(image, JPEG_XL[1])
    has_other_channels = (is_webp & ~is_animated) | is_jpeg_xl
    is_rgb = is_jpeg | is_png | _is_opaque_gif(image, padded) | _is_simple_bmp(image, data)
    reader = tf.where(is_rgb, tf.where(is_png & _has_alpha(image), 1, 0), 3)
    pixels = tf.switch_case(
        tf.where(has_other_channels, 2, reader),
        [
            lambda: _decode(image, channels=3),
            lambda: _decode(image, channels=4),
            lambda: _decode(image, channels=0),  # channels=0 keeps the image's number of channels.
            lambda: _decode_by_pillow(image, use_pillow),
        ],
    )
    mark = tf.where(is_png, _EXIF_IN_PNG, _EXIF_IN_WEBP)
    exif = tf.concat([_split(tf.where(is_jpeg, b"", image), mark), [b"", b""]], axis=0)[1]
    exif = tf.where(is_jpeg, _exif_in_jpeg(tf.where(is_jpeg, image, b"")), exif)
    orientation = tf.where(is_jpeg | is_png | is_webp, _orientation(exif, is_webp), 1)
    return _oriented(composite(pixels, background), orientation)


def _decode_by_pillow(image: tf.Tensor, use_pillow: bool) -> tf.Tensor:
    if use_pillow:
        rgba = tf.numpy_function(read_rgba, [image], tf.uint8, stateful=False)
        rgba.set_shape([None, None, 4])
        return rgba
    message = f"TensorFlow cannot read this image. It reads {READ_IN_GRAPH}."
    with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
        return tf.zeros([0, 0, 3], tf.uint8)


def composite(image: tf.Tensor, background: tuple[int, int, int] = WHITE) -> tf.Tensor:
    """Returns an image over a background colour; the last of 2 or 4 channels is its alpha."""
    colours = tf.where(tf.shape(image)[2] < 3, 1, 3)
    alpha = tf.cast(image[..., colours:], tf.float32) / 255
    alpha = tf.pad(alpha, [[0, 0], [0, 0], [0, 1]], constant_values=1.0)[..., :1]
    colour = tf.cast(image[..., :colours], tf.float32)
    mixed = alpha * colour + (1 - alpha) * tf.constant(background, tf.float32)
    return tf.cast(tf.round(mixed), tf.uint8)


def _starts_with(image: tf.Tensor, start: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(image, 0, len(start)), start)


def _split(text: tf.Tensor, separator: bytes | tf.Tensor) -> tf.Tensor:
    """Returns the two parts around a text's first separator, or the whole text if it has none."""
    return tf.raw_ops.StringSplitV2(input=[text], sep=separator, maxsplit=1).values


def _exif_in_jpeg(jpeg: tf.Tensor) -> tf.Tensor:
    """Returns a JPEG from the data of its Exif block on, or "" if it has no Exif block.

    Other segments, such as one of XMP, may hold the text of the block's mark.
    """
    parts = tf.raw_ops.StringSplitV2(input=[jpeg], sep=_APP1).values
    starts = tf.strings.substr(tf.strings.join([parts, _PADDING]), 2, len(_EXIF_IN_JPEG))
    is_behind = tf.cumsum(tf.cast(tf.equal(starts, _EXIF_IN_JPEG), tf.int32)) > 0
    behind = tf.strings.reduce_join(tf.boolean_mask(parts, is_behind), separator=_APP1)
    return tf.strings.substr(tf.strings.join([behind, _PADDING]), 2 + len(_EXIF_IN_JPEG), 1 << 16)


def _has_alpha(png: tf.Tensor) -> tf.Tensor:
    """Returns True for a PNG with an alpha channel or with a transparent colour."""
    # The 26th byte of a PNG is its colour type; the types 4 and 6 have an alpha channel.
    is_typed = tf.strings.regex_full_match(tf.strings.substr(png, 0, 26), r"(?s)\C{25}[\x04\x06]")
    return is_typed | (tf.size(_split(_split(png, b"IDAT")[0], b"tRNS")) > 1)


def _is_opaque_gif(image: tf.Tensor, padded: tf.Tensor) -> tf.Tensor:
    """Returns True for a GIF whose first frame fills the image and has no transparent colour."""
    # A frame of a GIF begins with a comma, its corner and its size. The bytes `frame` begin a frame
    # in the corner (0, 0) with the size of the whole image.
    frame = tf.strings.join([b",\0\0\0\0", tf.strings.substr(padded, 6, 4)])
    parts = _split(image, frame)
    # If a frame with the size of the whole GIF begins within the first 2048 bytes, it is the GIF's
    # first frame, because headers, colours and usual comments are shorter than that.
    is_first = (tf.size(parts) == 2) & (tf.strings.length(parts[0]) < 2048)
    # The bytes 21 F9 04 mark the settings of a GIF's frame. If the number behind these bytes is
    # odd, a colour is transparent.
    control = tf.concat([_split(parts[0], b"\x21\xf9\x04"), [b"", b""]], axis=0)[1]
    is_transparent = tf.io.decode_raw(tf.strings.join([control, b"\0"]), tf.uint8)[0] % 2 == 1
    return _starts_with(image, b"GIF8") & is_first & ~is_transparent


def _is_simple_bmp(image: tf.Tensor, data: tf.Tensor) -> tf.Tensor:
    """Returns True for a BMP of 24 or 32 bits or of 8-bit greys, without compression."""
    bits, compression = data[28], data[30]
    table = tf.reshape(data[54 : 54 + 1024], [256, 4])[:, :3]
    greys = (bits == 8) & tf.reduce_all(table == tf.range(256)[:, tf.newaxis])
    return _starts_with(image, b"BM") & (compression == 0) & ((bits == 24) | (bits == 32) | greys)


def _orientation(exif: tf.Tensor, is_webp: tf.Tensor) -> tf.Tensor:
    """Returns the orientation (1 to 8) that an Exif block gives, or 1 if it gives none.

    See the Exif standard (CIPA DC-008), sections 4.5.2 and 4.6.5.1: byte order, the offset of the
    first directory, and its entries of 12 bytes: tag, type, count and value.
    """
    # In a WebP file, the mark of the Exif block is followed by the block's length in four bytes,
    # which are skipped.
    exif = tf.strings.substr(tf.strings.join([exif, _PADDING]), tf.where(is_webp, 4, 0), 1 << 16)
    data = tf.cast(tf.io.decode_raw(exif, tf.uint8), tf.int32)
    is_little = data[0] == ord("I")

    def number(digits: tf.Tensor, length: int = 2) -> tf.Tensor:
        """Returns the integers in 2 or 4 bytes (the last axis), without the highest byte of 4."""
        digits = tf.where(is_little, tf.reverse(digits, [-1]), digits)
        return tf.reduce_sum(digits * [0, 256**2, 256, 1][-length:], axis=-1)

    start = tf.minimum(number(data[4:8], 4), tf.size(data) - 2)
    count = number(data[start : start + 2])
    entries = data[start + 2 : start + 2 + 12 * count]
    entries = tf.reshape(entries[: tf.size(entries) // 12 * 12], [-1, 12])
    is_long = number(entries[:, 2:4]) == 4
    value = tf.where(is_long, number(entries[:, 8:12], 4), number(entries[:, 8:10]))
    is_found = (number(entries[:, :2]) == 0x0112) & (value >= 1) & (value <= 8)
    return tf.concat([value[is_found], [1]], axis=0)[0]


def _oriented(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Returns an image rotated and mirrored upright, as its Exif orientation says."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    is_upside_down = tf.reduce_any(orientation == [3, 4, 7, 8])
    is_mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    return tf.reverse(image, tf.boolean_mask([0, 1], [is_upside_down, is_mirrored]))

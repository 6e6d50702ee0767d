"""Every kind of image becomes the pixels that a person sees, in TensorFlow and by Pillow."""

import contextlib
import itertools

import numpy as np
import pytest
import tensorflow as tf
from data import kinds_of_images as kinds
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.data.corrupt_images import READING_ERRORS, plain_message
from bit_keras.data.decoding import colour_of, composite, decode


def pixels(content, **options):
    return decode(tf.constant(content), **options).numpy().astype(int)


def test_every_kind_of_image_is_read_as_a_person_sees_it():
    wrong = {}
    for kind, (content, expected, tolerance, _) in kinds.KINDS.items():
        found = pixels(content)
        is_right = found.shape == expected.shape
        if not is_right or np.abs(found - expected).mean() > tolerance:
            wrong[kind] = found
    assert not wrong


def test_a_graph_without_pillow_gives_the_same_pixels_or_refuses():
    for content, *_, is_read in kinds.KINDS.values():
        if is_read:
            np.testing.assert_array_equal(pixels(content, use_pillow=False), pixels(content))
        else:
            with pytest.raises(tf.errors.InvalidArgumentError, match="TensorFlow cannot read"):
                pixels(content, use_pillow=False)


def test_orientations_are_applied():
    for form, orientation, order in itertools.product(kinds.FORMATS_WITH_EXIF, range(1, 9), "<>"):
        options, tolerance, is_read_in_graph = kinds.FORMATS_WITH_EXIF[form]
        content = kinds.rotated(form, orientation, order, **options)
        found = pixels(content)
        assert found.shape == kinds.upright(orientation).shape
        assert np.abs(found - kinds.upright(orientation)).mean() <= tolerance
        if is_read_in_graph:
            np.testing.assert_array_equal(pixels(content, use_pillow=False), found)


def with_exif(tiff):
    """Returns the PNG picture with an eXIf block behind its pixels; TensorFlow checks no sums."""
    content = kinds.encoded(kinds.RGB, "PNG")
    block = len(tiff).to_bytes(4, "big") + b"eXIf" + tiff
    end = content.index(b"IEND") - 4
    return content[:end] + block + tf.io.decode_base64("AAAAAA").numpy() + content[end:]


ENTRY = b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
EXIF = {
    "an orientation": (b"II*\0\x08\0\0\0\x01\0" + ENTRY, 6),
    "a number of four bytes": (b"II*\0\x08\0\0\0\x01\0\x12\x01\x04\0\x01\0\0\0\x08\0\0\0", 8),
    "a big-endian number of four bytes": (
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x03",
        3,
    ),
    "a directory further on": (b"II*\0\x10\0\0\0" + bytes(8) + b"\x01\0" + ENTRY, 6),
    "a directory beyond the end": (b"II*\0\xff\xff\xff\xff\x01\0" + ENTRY, 1),
    "fewer entries than it says": (b"II*\0\x08\0\0\0\xff\xff" + ENTRY, 6),
    "an orientation of 9": (b"II*\0\x08\0\0\0\x01\0" + ENTRY[:8] + b"\x09\0\0\0", 1),
    "another tag": (b"II*\0\x08\0\0\0\x01\0\x13" + ENTRY[1:], 1),
    "nothing": (b"", 1),
}


def test_odd_exif_blocks():
    for name, (tiff, orientation) in EXIF.items():
        found = pixels(with_exif(tiff))
        np.testing.assert_array_equal(found, kinds.upright(orientation), err_msg=name)


def jpeg_with(*segments):
    """Returns the JPEG picture with segments APP1 of these contents in front."""
    content = kinds.encoded(kinds.RGB, "JPEG", quality=95, subsampling=0)
    lengths = [(len(segment) + 2).to_bytes(2, "big") for segment in segments]
    blocks = (b"\xff\xe1" + pair[0] + pair[1] for pair in zip(lengths, segments, strict=True))
    return content[:2] + b"".join(blocks) + content[2:]


def test_the_exif_block_of_a_jpeg_is_found_among_other_segments():
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + ENTRY
    # The directory stands behind other data, which hold the bytes of the marker APP1.
    further = b"Exif\0\0II*\0\x10\0\0\0" + b"\xff\xe1Exif\0\0" + b"\x01\0" + ENTRY
    xmp = b"http://ns.adobe.com/xap/1.0/\0"
    for segments, orientation in (
        ((exif,), 6),
        ((xmp + b" Exif\0\0 written here", exif), 6),
        ((xmp + b" Exif\0\0 written here",), 1),
        ((xmp + b"Exif\0\0" + exif[6:],), 1),
        ((exif, xmp + bytes(60_000)), 6),
        ((xmp, xmp, further), 6),
        ((b"", b"E", exif), 6),
    ):
        content = jpeg_with(*segments)
        found = pixels(content)
        assert found.shape == kinds.upright(orientation).shape, segments
        assert np.abs(found - kinds.upright(orientation)).mean() <= 2
        np.testing.assert_array_equal(pixels(content, use_pillow=False), found)


def test_a_background_of_another_colour():
    grey = (128, 128, 128)
    for kind in ("transparent png", "transparent webp", "transparent tiff", "tga"):
        found = pixels(kinds.KINDS[kind][0], background=grey)
        expected = np.where(kinds.ALPHA[..., None], kinds.PIXELS, 128)
        np.testing.assert_array_equal(found, expected)


def test_half_transparent_pixels_are_mixed_with_the_background():
    image = tf.constant([[[100, 0, 200, 51]]], tf.uint8)
    np.testing.assert_array_equal(composite(image), [[[224, 204, 244]]])
    np.testing.assert_array_equal(composite(image[..., 2:]), [[[244, 244, 244]]])
    np.testing.assert_array_equal(composite(image[..., :1]), [[[100, 100, 100]]])


def test_colours_have_names_and_codes():
    assert colour_of("black") == (0, 0, 0)
    assert colour_of("#ff8000") == (255, 128, 0)
    for wrong in ("wite", "", "#12", None):
        with pytest.raises(ValueError, match=r"background=.*expected the name of a colour"):
            colour_of(wrong)


def test_what_is_no_image_is_refused_with_the_reason():
    for content, reason in kinds.BROKEN.values():
        with pytest.raises(READING_ERRORS) as raised:
            decode(tf.constant(content))
        message = plain_message(raised.value)
        assert message
        assert reason in message
        assert not {"Traceback", "{{", "[["} & set(message.split())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_image_is_read_or_refused(data):
    content = bytearray(data.draw(st.sampled_from([each[0] for each in kinds.KINDS.values()])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(READING_ERRORS):
        assert pixels(bytes(content)).shape[-1] == 3

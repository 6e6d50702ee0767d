"""Signatures of a SavedModel refuse images that have no pixels or too many, in words."""

import struct

import pytest
import tensorflow as tf
from exporters.encodings import IMAGES, NO_IMAGES, RGB, RGBA, encode
from networks import quick, randomize

import bit_keras
from bit_keras.exporters.image_size_limit import MAX_PIXELS, limited, pixels

SIDE = 50_000
KINDS = {
    **{name: content for name, (content, _) in IMAGES.items()},
    "webp": encode(RGB, "WEBP"),
    "lossless webp": encode(RGB, "WEBP", lossless=True),
    "webp with transparency": encode(RGBA, "WEBP"),
}


def patched(content, *places):
    """Returns a file's content with other numbers at byte positions."""
    content = bytearray(content)
    for position, form, number in places:
        struct.pack_into(form, content, position, number)
    return bytes(content)


def of_jpeg(content):
    at = content.index(b"\xff\xc0") + 5
    return patched(content, (at, ">H", SIDE), (at + 2, ">H", SIDE))


LARGE = {
    "png": patched(KINDS["png"], (16, ">I", SIDE), (20, ">I", SIDE)),
    "gif": patched(KINDS["animated gif"], (6, "<H", SIDE), (8, "<H", SIDE)),
    "bmp": patched(KINDS["bmp"], (18, "<i", SIDE), (22, "<i", SIDE)),
    "bmp from the top": patched(KINDS["bmp"], (18, "<i", SIDE), (22, "<i", -SIDE)),
    "webp": patched(KINDS["webp"], (26, "<H", 16_000), (28, "<H", 16_000)),
    "lossless webp": patched(KINDS["lossless webp"], (21, "<I", 15_999 | 15_999 << 14)),
    "webp with transparency": patched(
        KINDS["webp with transparency"], (24, "<I", SIDE - 1), (27, "<H", SIDE - 1)
    ),
    "jpeg": of_jpeg(KINDS["jpeg"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_every_format_is_read_from_its_first_bytes(kind):
    assert int(pixels(tf.constant(KINDS[kind]))) == 72 * 54


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_image_is_refused(kind):
    assert int(pixels(tf.constant(LARGE[kind]))) in (SIDE**2, 16_000**2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"more than {MAX_PIXELS} pixels"):
        limited(tf.constant([KINDS["png"], LARGE[kind]]))


def test_what_is_no_image_is_not_refused():
    for strings in (list(NO_IMAGES.values()), []):
        assert limited(tf.constant(strings, tf.string)).numpy().tolist() == strings


def test_the_signatures_refuse_no_pixels_and_too_many(tmp_path):
    bit_keras.export_saved_model(randomize(quick()), tmp_path / "module", image_size=16)
    module = tf.saved_model.load(tmp_path / "module")
    signatures = [module.signatures["serving_default"], module.signatures["features"]]
    calls = [(function, (1, 0, 16, 3)) for function in signatures]
    calls += [(function, (0, 16, 16, 3)) for function in (module, *signatures)]
    for function, shape in calls:
        with pytest.raises(tf.errors.InvalidArgumentError, match="at least one image of at least"):
            function(tf.zeros(shape))
    for function in signatures:
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"in the shape \(None.*, 3\)"):
            function(tf.zeros((1, 16, 16, 1)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one image of at least"):
        bit_keras.HubLayer(str(tmp_path / "module"))(tf.zeros((0, 16, 16, 3)))
    serve = module.signatures["serving_bytes"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"more than {MAX_PIXELS} pixels"):
        serve(tf.constant([LARGE["png"]]))
    assert serve(tf.constant([KINDS["png"], b"no image"]))["classes"][:, 0].numpy()[1] == -1
    # TensorFlow's optimizer must not drop the image that is added to an empty batch.
    assert serve(tf.constant([], tf.string))["classes"].shape == (0, 5)

"""Files of images that are right, and some that are not."""

import io

import numpy as np
from PIL import Image

_PIXELS = np.kron(np.random.default_rng(0).integers(0, 256, (6, 8, 3)), np.ones((9, 9, 1)))
RGB = Image.fromarray(_PIXELS.astype("uint8"))  # 72 x 54 pixels


def encode(image, file_format, **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def sixteen_bits():
    grey = np.asarray(RGB.convert("L")).astype("uint16") * 257
    return Image.fromarray(grey)


JPEG = encode(RGB, "JPEG", quality=95)
GREY = np.asarray(RGB.convert("L"))
RGBA = Image.merge("RGBA", (*RGB.split(), Image.fromarray(GREY)))
ON_WHITE = Image.alpha_composite(Image.new("RGBA", RGBA.size, "white"), RGBA).convert("RGB")
TURNED = Image.Exif()
TURNED[0x0112] = 6  # The right side of the picture is stored at the top.

# What is in the file, and the RGB pixels that it is to be read as (None: as TensorFlow reads JPEG).
IMAGES = {
    "jpeg": (JPEG, None),
    "progressive jpeg": (encode(RGB, "JPEG", progressive=True), None),
    "cmyk jpeg": (encode(RGB.convert("CMYK"), "JPEG"), None),
    "png": (encode(RGB, "PNG"), np.asarray(RGB)),
    "grey png": (encode(RGB.convert("L"), "PNG"), np.stack([GREY] * 3, -1)),
    "rgba png": (encode(RGBA, "PNG"), np.asarray(ON_WHITE)),
    "rgba webp": (encode(RGBA, "WEBP", lossless=True, exact=True), np.asarray(ON_WHITE)),
    "turned png": (encode(RGB, "PNG", exif=TURNED), np.rot90(np.asarray(RGB), -1)),
    "16-bit png": (encode(sixteen_bits(), "PNG"), np.stack([GREY] * 3, -1)),
    "bmp": (encode(RGB, "BMP"), np.asarray(RGB)),
    "animated gif": (
        encode(RGB.quantize(64), "GIF", save_all=True, append_images=[RGB.rotate(180)]),
        np.asarray(RGB.quantize(64).convert("RGB")),
    ),
}

# What TensorFlow alone does not read, or of which it would lose colours, is among them.
NO_IMAGES = {
    "tiff": encode(RGB, "TIFF"),
    "transparent gif": encode(RGB.quantize(64), "GIF", transparency=3),
    "palette bmp": encode(RGB.quantize(64), "BMP"),
    "nothing": b"",
    "a word": b"image",
    "random bytes": np.random.default_rng(0).bytes(1000),
    "half a jpeg": JPEG[: len(JPEG) // 2],
    "jpeg without its last byte": JPEG[:-1],
    "head of a jpeg": JPEG[:20],
    "half a png": IMAGES["png"][0][: len(IMAGES["png"][0]) // 2],
    "half a bmp": IMAGES["bmp"][0][:3000],
}

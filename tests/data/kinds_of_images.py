"""Images of every format, mode and orientation, and the pixels that each is to be read as."""

import base64
import io
import struct

import numpy as np
from PIL import Image

# Four blocks of colours that no flip or turn maps to itself, 24 x 16 pixels.
_BLOCKS = np.array([[[200, 30, 60], [40, 180, 90], [10, 20, 220]], [[250, 240, 30]] * 3], "uint8")
PIXELS = np.kron(_BLOCKS, np.ones((8, 8, 1), "uint8"))
GREY = PIXELS[..., 1]
# The left half is opaque, the right half transparent.
ALPHA = np.where(np.arange(24) < 12, 255, 0).astype("uint8") * np.ones((16, 1), "uint8")
ON_WHITE = np.where(ALPHA[..., None], PIXELS, np.uint8(255))

RGB = Image.fromarray(PIXELS)
RGBA = Image.fromarray(np.dstack([PIXELS, ALPHA]))
PALETTE = RGB.quantize(8)
CLEAR = PALETTE.getpixel((0, 0))  # The palette's number of the first colour.
WITHOUT_FIRST = np.where(
    np.equal(PIXELS, PIXELS[0, 0]).all(-1, keepdims=True), np.uint8(255), PIXELS
)


def encoded(image, form, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def rotated(form, orientation, order=">", **options):
    """Returns the picture RGB with an orientation in its Exif block, in a byte order."""
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F], exif[0x0112] = "A maker", orientation
    return encoded(RGB, form, exif=exif, **options)


def upright(orientation):
    """Returns the pixels of RGB as the orientation says that they are to be seen."""
    turned = PIXELS.transpose(1, 0, 2) if orientation >= 5 else PIXELS
    turned = turned[::-1] if orientation in (3, 4, 7, 8) else turned
    return turned[:, ::-1] if orientation in (2, 3, 6, 7) else turned


def three(grey):
    return np.stack([grey] * 3, axis=-1)


def _without_white(content):
    """Turns a TIFF of 16-bit greys into one in which 0 is white (tag 262)."""
    entry = struct.pack("<HHI", 262, 3, 1)
    place = content.index(entry) + len(entry)
    return content[:place] + struct.pack("<H", 0) + content[place + 2 :]


_SIXTEEN = GREY.astype("uint16") * 257
_LOSSLESS = {"lossless": True, "exact": True}
_MORE = {"save_all": True, "append_images": [RGB.rotate(180)]}

# A JPEG XL of 8 x 6 pixels with the values 0, 1, 2, ..., and one in which every other pixel is
# transparent; both written by pillow-jxl-plugin 1.3.8.
_JXL = b"{|YED5D5qX0RWHyODHrJKBu5yf>DHXBVvqU3>I!&AYcGFxELY8W6?ms000mH"
_JXL_ALPHA = (
    b"{|YEDuo4IW5C9+nODHx*-;8fF1qB6#013~Gv8Cq|gih07FCZ{Lcr#xE-pq3}J^z}Xn|bYKKL3tp;kJd_7H(Sz5Cj205"
    b"Ci~05C8;001yNL"
)
_RAMP = np.arange(144, dtype="uint8").reshape(6, 8, 3)
_EVERY_OTHER = np.where(np.arange(48).reshape(6, 8, 1) % 2, _RAMP, np.uint8(255))

# The content of the file, the pixels, how far they may differ on average, and whether TensorFlow
# alone reads them, as an exported model does.
KINDS = {
    "jpeg": (encoded(RGB, "JPEG", quality=95, subsampling=0), PIXELS, 2, True),
    "progressive jpeg": (
        encoded(RGB, "JPEG", quality=95, subsampling=0, progressive=True),
        PIXELS,
        2,
        True,
    ),
    "grey jpeg": (encoded(GREY, "JPEG", quality=95), three(GREY), 4, True),
    "cmyk jpeg": (encoded(RGB.convert("CMYK"), "JPEG", quality=95), PIXELS, 2, True),
    "png": (encoded(RGB, "PNG"), PIXELS, 0, True),
    "grey png": (encoded(GREY, "PNG"), three(GREY), 0, True),
    "16-bit grey png": (encoded(_SIXTEEN, "PNG"), three(GREY), 0, True),
    "two-colour png": (
        encoded(Image.fromarray(GREY > 99), "PNG"),
        three((GREY > 99) * 255),
        0,
        True,
    ),
    "palette png": (encoded(PALETTE, "PNG"), PIXELS, 0, True),
    "transparent png": (encoded(RGBA, "PNG"), ON_WHITE, 0, True),
    "transparent grey png": (
        encoded(np.dstack([GREY, ALPHA]), "PNG"),
        np.where(ALPHA[..., None], three(GREY), 255),
        0,
        True,
    ),
    "png of a palette with a transparent entry": (
        encoded(PALETTE, "PNG", transparency=CLEAR),
        WITHOUT_FIRST,
        0,
        True,
    ),
    "png of four colours with a transparent one": (
        encoded(PALETTE, "PNG", transparency=CLEAR, bits=2),
        WITHOUT_FIRST,
        0,
        True,
    ),
    "rgb png with a transparent colour": (
        encoded(RGB, "PNG", transparency=RGB.getpixel((0, 0))),
        WITHOUT_FIRST,
        0,
        True,
    ),
    "16-bit grey png with a transparent grey": (
        encoded(Image.fromarray(_SIXTEEN), "PNG", transparency=int(_SIXTEEN[0, 0])),
        np.where(three(GREY) == GREY[0, 0], 255, three(GREY)),
        0,
        True,
    ),
    "animated png": (encoded(RGB, "PNG", **_MORE), PIXELS, 0, True),
    "webp": (encoded(RGB, "WEBP", **_LOSSLESS), PIXELS, 0, True),
    "lossy webp": (encoded(RGB, "WEBP", quality=100), PIXELS, 20, True),
    "transparent webp": (encoded(RGBA, "WEBP", **_LOSSLESS), ON_WHITE, 0, True),
    "lossy transparent webp": (encoded(RGBA, "WEBP", quality=100), ON_WHITE, 20, True),
    "animated webp": (encoded(RGB, "WEBP", **_MORE, **_LOSSLESS), PIXELS, 0, False),
    "gif": (encoded(PALETTE, "GIF"), PIXELS, 0, True),
    "animated gif": (encoded(PALETTE, "GIF", **_MORE, loop=0), PIXELS, 0, True),
    "transparent gif": (encoded(PALETTE, "GIF", transparency=CLEAR), WITHOUT_FIRST, 0, False),
    "bmp": (encoded(RGB, "BMP"), PIXELS, 0, True),
    "32-bit bmp": (encoded(RGBA, "BMP"), PIXELS, 0, True),
    "grey bmp": (encoded(GREY, "BMP"), three(GREY), 0, True),
    "palette bmp": (encoded(PALETTE, "BMP"), PIXELS, 0, False),
    "two-colour bmp": (encoded(RGB.convert("1"), "BMP"), three(RGB.convert("1")) * 255, 0, False),
    "jpeg xl": (base64.b85decode(_JXL), _RAMP, 0, True),
    "transparent jpeg xl": (base64.b85decode(_JXL_ALPHA), _EVERY_OTHER, 0, True),
    "tiff": (encoded(RGB, "TIFF"), PIXELS, 0, False),
    "compressed tiff": (encoded(RGB, "TIFF", compression="tiff_lzw"), PIXELS, 0, False),
    "cmyk tiff": (encoded(RGB.convert("CMYK"), "TIFF"), PIXELS, 0, False),
    "palette tiff": (encoded(PALETTE, "TIFF"), PIXELS, 0, False),
    "transparent tiff": (encoded(RGBA, "TIFF"), ON_WHITE, 0, False),
    "16-bit grey tiff": (encoded(_SIXTEEN, "TIFF"), three(GREY), 0, False),
    "16-bit grey tiff with a white 0": (
        _without_white(encoded(_SIXTEEN, "TIFF")),
        255 - three(GREY),
        0,
        False,
    ),
    "16-bit grey pgm": (encoded(_SIXTEEN, "PPM"), three(GREY), 0, False),
    "ppm": (encoded(RGB, "PPM"), PIXELS, 0, False),
    "avif": (encoded(RGB, "AVIF", quality=100, subsampling="4:4:4"), PIXELS, 4, False),
    "transparent avif": (encoded(RGBA, "AVIF", quality=100), ON_WHITE, 20, False),
    "jpeg 2000": (encoded(RGB, "JPEG2000"), PIXELS, 0, False),
    "16-bit grey jpeg 2000": (encoded(_SIXTEEN, "JPEG2000"), three(GREY), 0, False),
    "tga": (encoded(RGBA, "TGA"), ON_WHITE, 0, False),
    "ico": (encoded(RGBA, "ICO", sizes=[(24, 16)]), ON_WHITE, 0, False),
    "qoi": (encoded(RGB, "QOI"), PIXELS, 0, False),
}

FORMATS_WITH_EXIF = {
    "JPEG": ({"quality": 95, "subsampling": 0}, 2, True),
    "PNG": ({}, 0, True),
    "WEBP": (_LOSSLESS, 0, True),
    "TIFF": ({}, 0, False),
    "AVIF": ({"quality": 100, "subsampling": "4:4:4"}, 4, False),
}

# Images that nothing reads, and a part of the reason.
BROKEN = {
    "empty": (b"", "empty"),
    "text": (b"This is no image.", "not in a format"),
    "zeros": (bytes(100), "not in a format"),
    "start of a bmp": (b"BM", "not in a format"),
    "truncated jpeg": (encoded(RGB, "JPEG")[:400], "Invalid JPEG"),
    "truncated png": (encoded(RGB, "PNG")[:60], "PNG"),
    "truncated webp": (encoded(RGBA, "WEBP")[:60], "WebP"),
    "truncated gif": (encoded(PALETTE, "GIF")[:40], ""),
    "truncated tiff": (encoded(RGB, "TIFF")[:300], "Pillow cannot read the image"),
    "truncated avif": (encoded(RGB, "AVIF")[:200], ""),
    "32-bit integers": (encoded(GREY.astype("int32"), "TIFF"), "32 bits"),
    "32-bit floats": (encoded(GREY.astype("float32"), "TIFF"), "32 bits"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(90), "HEIC"),
}

"""JPEGs for the benchmarks: windows of the two photographs that scikit-learn brings."""

import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images


def jpegs(count, width, height, quality=95):
    """Returns encoded windows of `width` by `height`, mirrored or not; 4:2:0, as cameras write.

    The photographs have 640 by 427 pixels: for a larger window they are enlarged first, and get
    noise of a sensor (uniform, -4 to 4), for an enlarged photograph alone would be too smooth.
    """
    rng = np.random.default_rng(0)
    photographs = [_enlarged(rng, photo, width, height) for photo in load_sample_images().images]
    return [
        _window(rng, photographs[rng.integers(2)], width, height, quality) for _ in range(count)
    ]


def _enlarged(rng, photo, width, height):
    scale = max(width / photo.shape[1], height / photo.shape[0])
    if scale <= 1:
        return photo
    size = [round(1.02 * scale * side) for side in (photo.shape[1], photo.shape[0])]
    large = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))
    noise = rng.integers(-4, 5, large.shape, np.int16)
    return np.clip(large + noise, 0, 255).astype(np.uint8)


def _window(rng, photo, width, height, quality):
    top = rng.integers(photo.shape[0] - height + 1)
    left = rng.integers(photo.shape[1] - width + 1)
    window = photo[top : top + height, left : left + width]
    stream = io.BytesIO()
    Image.fromarray(window[:, :: rng.choice([-1, 1])]).save(stream, "JPEG", quality=quality)
    return stream.getvalue()

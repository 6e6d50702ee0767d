"""Weight files of any architecture, written by the official schema alone: no code of bit_keras.

The scales are such that every epsilon counts: some kernels are as small as the root of the epsilon
that is added to their variance, and some groups are normalized after a gamma of a thousandth.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# Depths and width (arXiv 1912.11370, section 3.1).
ARCHITECTURES = {
    "R50x1": ((3, 4, 6, 3), 1),
    "R101x1": ((3, 4, 23, 3), 1),
    "R50x3": ((3, 4, 6, 3), 3),
    "R152x2": ((3, 8, 36, 3), 2),
    "R101x3": ((3, 4, 23, 3), 3),
    "R152x4": ((3, 8, 36, 3), 4),
}

CLASSES = 37  # another number than any size in the networks


def write_npz(path: Path, architecture: str) -> Path:
    """Writes random weights, one array in memory at a time."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for key, shape in _shapes(*ARCHITECTURES[architecture]):
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, _values(rng, key, shape))
    return path


def images(*shape: int) -> np.ndarray:
    """Random images in [-1, 1], float32 NHWC."""
    return np.random.default_rng(1).uniform(-1, 1, shape).astype("float32")


def _shapes(depths: tuple[int, ...], width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    channels = 64 * width
    yield "resnet/root_block/standardized_conv2d/kernel", (7, 7, 3, channels)
    for block, depth in enumerate(depths):
        mid = 64 * width * 2**block
        for unit in range(depth):
            name = f"resnet/block{block + 1}/unit{unit + 1:02d}"
            if unit == 0:
                yield f"{name}/a/proj/standardized_conv2d/kernel", (1, 1, channels, 4 * mid)
            for part, shape in {
                "a": (1, 1, channels, mid),
                "b": (3, 3, mid, mid),
                "c": (1, 1, mid, 4 * mid),
            }.items():
                yield f"{name}/{part}/group_norm/gamma", (shape[2],)
                yield f"{name}/{part}/group_norm/beta", (shape[2],)
                yield f"{name}/{part}/standardized_conv2d/kernel", shape
            channels = 4 * mid
    yield "resnet/group_norm/gamma", (channels,)
    yield "resnet/group_norm/beta", (channels,)
    yield "resnet/head/conv2d/kernel", (1, 1, channels, CLASSES)
    yield "resnet/head/conv2d/bias", (CLASSES,)


def _values(rng: np.random.Generator, key: str, shape: tuple[int, ...]) -> np.ndarray:
    values = rng.standard_normal(shape, "float32")
    if key.endswith("conv2d/kernel"):
        # A mean, which standardization takes away, and a deviation of 3e-5 to 1.
        values += np.float32(rng.normal())
        values *= np.float32(10 ** rng.uniform(-4.5, 0))
    elif "group_norm" in key:
        values = (0.3 * values + (1 if key.endswith("gamma") else 0)).astype("float32")
        # Of every unit: what follows has a variance of about 1e-5 times its fan-in.
        if "/b/" in key:
            values *= np.float32(1e-3)
    return values

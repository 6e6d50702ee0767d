"""NumPy arrays that TensorFlow can use as tensors without a copy."""

from typing import Any

import numpy as np

# TensorFlow's tensors begin at multiples of 64 bytes (Eigen's EIGEN_MAX_ALIGN_BYTES).
_ALIGNMENT = 64


def aligned_bytes(number: int) -> np.ndarray:
    """Returns `number` uninitialized bytes, uint8, at an address that is a multiple of 64."""
    memory = np.empty(number + _ALIGNMENT, "uint8")
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + number]


def is_shareable(array: np.ndarray) -> bool:
    """Returns True if the array is contiguous and its address is a multiple of 64."""
    return array.flags.c_contiguous and array.ctypes.data % _ALIGNMENT == 0


def as_tensor(array: np.ndarray) -> Any:
    """Returns a tensor that shares the memory of an array; the array must not change afterwards.

    Args:
        array: an array for which `is_shareable` is True.
    """
    import tensorflow as tf

    # DLPack shares the array's memory with the tensor; tf.convert_to_tensor would copy the array.
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())

"""Which form of an operation is the quickest, where several give the same."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import keras

_for_any_device = ContextVar("for_any_device", default=False)


@contextlib.contextmanager
def for_any_device() -> Iterator[None]:
    """What is traced inside will run on other devices, or be turned to other programs' files."""
    token = _for_any_device.set(True)
    try:
        yield
    finally:
        _for_any_device.reset(token)


def in_cpu_graph() -> bool:
    """Returns whether TensorFlow's own operations will compute on a CPU what is traced now.

    Each of these reads and writes whole tensors, so that few large ones are quick. XLA, with which
    JAX and TPUs compile too, joins many small ones by itself; and on a GPU the large ones are of
    cuDNN, which has bounds of its own for an epsilon.
    """
    if keras.backend.backend() != "tensorflow" or _for_any_device.get():
        return False
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util

    if control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
        return False
    return not any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))

"""Which form of an operation is the quickest, where several give the same."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import keras

_for_other_programs = ContextVar("for_other_programs", default=False)


@contextlib.contextmanager
def for_other_programs() -> Iterator[None]:
    """What is traced inside will run elsewhere: other programs' files are made of it."""
    token = _for_other_programs.set(True)
    try:
        yield
    finally:
        _for_other_programs.reset(token)


def in_cpu_graph() -> bool:
    """Returns whether TensorFlow's own operations will compute on a CPU what is traced now.

    Each of these reads and writes whole tensors, so that few large ones are quick. XLA, with which
    JAX and TPUs compile too, joins many small ones by itself.
    """
    if keras.backend.backend() != "tensorflow" or _for_other_programs.get():
        return False
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util

    if control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
        return False
    return not any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))

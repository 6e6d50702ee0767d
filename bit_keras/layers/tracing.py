"""Switches that choose between equivalent implementations of layers while a model is traced."""

import contextlib
from contextvars import ContextVar

import keras

from bit_keras.utils import keras_internals
from bit_keras.utils.context_variable import value_set


class Switch:
    """A switch that is on inside a `with switch.on():` block of the same thread, and off elsewhere.

    Args:
        name: name of the switch's `ContextVar`, for debugging.

    >>> quiet = Switch("quiet")
    >>> with quiet.on():
    ...     print(quiet.is_on())
    True
    >>> quiet.is_on()
    False
    """

    def __init__(self, name: str):
        self._state = ContextVar(name, default=False)

    def is_on(self) -> bool:
        return self._state.get()

    def on(self) -> contextlib.AbstractContextManager[None]:
        return value_set(self._state, True)


# While this switch is on, layers use only operations that other programs (LiteRT, ONNX) support.
for_other_programs = Switch("for_other_programs")


def in_cpu_graph() -> bool:
    """Returns True if the graph traced now will run as TensorFlow operations on a CPU, without XLA.

    Each TensorFlow operation reads and writes whole tensors, so few large operations are faster
    than many small ones. XLA, which also compiles for JAX and TPUs, fuses small operations itself.
    """
    if keras.backend.backend() != "tensorflow" or for_other_programs.is_on():
        return False
    import tensorflow as tf

    if keras_internals.is_compiled_by_xla():
        return False
    return not any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))


# While this switch is on, layers create their kernels as zeros, because a checkpoint will overwrite
# the kernels. The layers' configurations keep the usual initializers. For R152x4, this saves
# drawing 0.9 billion random numbers.
weights_to_come = Switch("weights_to_come")

# While this switch is on, layers define their gradients by tf.custom_gradient, because a SavedModel
# cannot store other custom gradients. The switch is on while a graph is traced for a SavedModel.
saving_gradients = Switch("saving_gradients")

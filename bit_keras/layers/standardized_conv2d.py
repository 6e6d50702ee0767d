"""The layer `StandardizedConv2D`: the weight-standardized convolution of Big Transfer.

    StandardizedConv2D    conv(x, (w - mean(w)) / sqrt(var(w) + 1e-10)), per output channel

The layer is a drop-in replacement of `keras.layers.Conv2D`. Mean and variance are biased (divided
by n) and computed in float32, or in float64 if the kernel is float64, under every dtype policy.
Source: Big Transfer (arXiv 1912.11370), section 3.2; its official code, `tf2_keras/models.py`.
"""

import contextlib
import functools
import types
from collections.abc import Mapping
from contextvars import ContextVar
from numbers import Real

import keras
from keras import ops

from bit_keras.layers import fused_ops
from bit_keras.layers.recompute import rematerialized
from bit_keras.layers.tracing import in_cpu_graph, weights_to_come
from bit_keras.utils import keras_internals
from bit_keras.utils.context_variable import value_set

# The epsilon added to a kernel's variance. The networks of timm and transformers pass 1e-8 to each
# of their convolutions (the default of transformers' class, 1e-6, is never used). With 1e-8, the
# logits of the published weights differ from the official ones.
KERNEL_EPSILON = 1e-10

# Maps layers to standardized kernels that were computed before. A layer in this mapping uses that
# kernel and does not standardize its own kernel again.
_ready_kernels = ContextVar("ready_kernels", default=types.MappingProxyType({}))


def ready_kernels(kernels: Mapping) -> contextlib.AbstractContextManager[None]:
    """Makes the given `StandardizedConv2D` layers use precomputed kernels inside a `with` block.

    Args:
        kernels: maps each layer to the result of its `standardized_kernel()`.
    """
    return value_set(_ready_kernels, kernels)


def _at_least_float32(x):
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def standardize_kernel(kernel, epsilon: float = KERNEL_EPSILON):
    """Returns `(kernel - mean) / sqrt(var + epsilon)`, with mean and var of each output channel.

    Weight Standardization (arXiv 1903.10520), equation 3. A constant kernel gives zeros.

    Args:
        kernel: `[..., in_channels / groups, filters]`, for instance HWIO.
        epsilon: added to the biased variance.

    Returns:
        A tensor of the same shape, float32 (float64 for a float64 kernel).
    """
    kernel = _at_least_float32(kernel)
    axes = tuple(range(len(kernel.shape) - 1))
    centred = kernel - ops.mean(kernel, axis=axes, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=axes, keepdims=True)
    # Multiplying by the inverse standard deviation needs one division per filter. Dividing by the
    # standard deviation would need one per weight.
    return centred * (1.0 / ops.sqrt(variance + epsilon))


def _standardized(kernel, epsilon: float):
    """Standardizes a kernel by the fastest method for the current backend and device."""
    if keras.backend.backend() != "tensorflow":
        return standardize_kernel(kernel, epsilon)
    if in_cpu_graph() and keras.backend.standardize_dtype(kernel.dtype) == "float32":
        return fused_ops.standardize(kernel, epsilon)
    # Without rematerialization, TensorFlow's tape would keep the centred kernels of the whole
    # network, which take as much memory as all weights.
    return rematerialized(functools.partial(standardize_kernel, epsilon=epsilon), kernel)


@keras.saving.register_keras_serializable(package="bit_keras")
class StandardizedConv2D(keras.layers.Conv2D):
    """A `keras.layers.Conv2D` that standardizes its kernel at each call.

    The layer stores the raw kernel, so regularizers, constraints and LoRA act on the raw kernel.
    As in Keras and in the official code, the layer has a bias by default; BiT's network passes
    `use_bias=False`.

    Args:
        filters, kernel_size, **kwargs: all arguments of `keras.layers.Conv2D`.
        epsilon: added to the variance of the kernel.

    Example:

    >>> layer = StandardizedConv2D(64, 3, padding="same", use_bias=False)
    >>> layer(keras.ops.ones((1, 8, 8, 32))).shape
    TensorShape([1, 8, 8, 64])
    """

    def __init__(self, filters: int, kernel_size, *args, epsilon: float = KERNEL_EPSILON, **kwargs):
        super().__init__(filters, kernel_size, *args, **kwargs)
        if not isinstance(epsilon, Real) or epsilon < 0:
            raise ValueError(f"StandardizedConv2D: epsilon={epsilon!r}; expected a number from 0.")
        self.epsilon = epsilon

    def add_weight(self, *args, name=None, **kwargs):
        # Autocast is off for kernels, because the mean and variance need the stored kernel. With
        # autocast, Keras would first round the kernel to half precision.
        if name in ("kernel", "lora_kernel_a", "lora_kernel_b"):
            kwargs["autocast"] = False
        if name == "kernel" and weights_to_come.is_on():
            kwargs["initializer"] = "zeros"
        return super().add_weight(*args, name=name, **kwargs)

    @property
    def kernel(self):
        if not (self.built and self.lora_enabled):
            return super().kernel
        # LoRA's update is added here, because Keras' own property would round the sum to the
        # compute dtype.
        delta = ops.matmul(self.lora_kernel_a, self.lora_kernel_b)
        return ops.add(keras_internals.raw_kernel(self), (self.lora_alpha / self.lora_rank) * delta)

    def standardized_kernel(self):
        """Returns the kernel used by the convolution, before its cast to the compute dtype."""
        return _standardized(self.kernel, self.epsilon)

    def convolution_op(self, inputs, kernel):
        ready = _ready_kernels.get().get(self)
        if ready is None:
            ready = _standardized(kernel, self.epsilon)
        return super().convolution_op(inputs, ops.cast(ready, self.compute_dtype))

    def get_config(self) -> dict:
        return {**super().get_config(), "epsilon": self.epsilon}

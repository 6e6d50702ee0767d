"""The memory that TensorFlow's graph needs for a training step with momentum SGD.

The forward pass keeps these tensors for the gradients of the backward pass:

    root, 3x3 of stride 2      the padded input, for the gradient of the kernel
    max-pool                   the padded input and the output
    GN + ReLU                  the centred input (in half precision the input itself) and the
                               output, which is the input of the next convolution
    standardized kernel        the standardized kernel, for the gradient of the convolution
    sums, pads, means          nothing

`tests/costing/test_step_memory.py` compares these with the tensors on a tape; no byte differs.
The kernels themselves count as weights. Statistics are float32 under every policy, but the tensors
that are kept for their gradients have the compute dtype.

While the backward pass is in a unit, the tensors of all units before it are still in memory. The
peak is the largest of these sums. Of a rematerialized segment, only the input is in memory until
the backward pass reaches it.

XLA, the default on GPU and TPU, fuses layers and may keep less. There the result is an upper bound
that has not been measured.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bit_keras.costing.shapes import Network, Preactivation, Unit

_FLOAT32 = 4

# Maps each dtype policy to the bytes of one element in its compute dtype.
_COMPUTE_BYTES = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}

# Number of tensors of the input's size that the gradient of a group normalization with ReLU holds
# at a time: the gradient of ReLU, its products with the scale and with the centred input, and the
# centred input times its coefficient in the gradient. The gradient of a kernel's standardization
# holds as many tensors of the kernel's size, unless it is a single operation.
_WORKING_COPIES = 4

# Host memory in bytes, per convolution, of TensorFlow's graph of a training step, with its Python
# objects and compiled kernels. The first number always counts; the second is added with
# rematerialization, and the third if the batch is processed in slices. Measured in addition to the
# tensors for one image of 32x32 with R50x0.5, R101x0.5 and R50x1 (TensorFlow 2.21): 3.3, 4.0 and
# 2.8 MB; 1.5, 1.5 and 1.7 MB more when units are rematerialized; 1.1 to 2.1 MB more in slices.
_GRAPH_BYTES, _REMAT_GRAPH_BYTES, _LOOP_GRAPH_BYTES = 4_000_000, 1_500_000, 2_000_000

REMAT = (None, "unit", "block")
DTYPES = tuple(_COMPUTE_BYTES)


@dataclass(frozen=True)
class Memory:
    """The memory in bytes that a training step takes on one device at its peak.

    Attributes:
        weights: the network's weights, float32.
        optimizer: the momentum, and the decayed momentum, which is computed at the beginning of
            the step because it depends on no gradient.
        gradients: the gradients of all weights; if the batch is split, also their sum.
        kernels: the standardized kernels.
        activations: the tensors that are kept for the backward pass.
        working: the temporary tensors of the unit that the backward pass is in.
        graph: TensorFlow's graph. It is in the memory of the host, as are the tensors of a CPU.
    """

    weights: int
    optimizer: int
    gradients: int
    kernels: int
    activations: int
    working: int
    graph: int

    @property
    def device(self) -> int:
        """The peak memory of training on an accelerator, in bytes, without TensorFlow's graph."""
        kept = self.weights + self.optimizer + self.gradients
        return kept + self.kernels + self.activations + self.working

    @property
    def cpu(self) -> int:
        """The peak memory of training on the CPU, in bytes, including TensorFlow's graph."""
        return self.device + self.graph


def memory(
    network: Network,
    batch_size: int,
    dtype: str = "float32",
    remat: str | None = None,
    batch_split: int = 1,
) -> Memory:
    """Returns the memory that a training step needs on one device, item by item.

    Args:
        network: the sizes of the network at the resolution of the training.
        batch_size: number of images of a step on this device.
        dtype: "float32", "mixed_bfloat16" or "mixed_float16".
        remat: "unit" or "block", which are computed again in the backward pass; None for neither.
        batch_split: number of slices in which a step goes through its batch.
    """
    compute = _COMPUTE_BYTES[dtype]
    slice_size = -(-batch_size // batch_split)
    weights = _FLOAT32 * network.parameters
    kernels, activations, working = max(_moments(network, slice_size, compute, remat), key=sum)
    is_split = batch_split > 1
    graph = _GRAPH_BYTES + _REMAT_GRAPH_BYTES * (remat is not None) + _LOOP_GRAPH_BYTES * is_split
    return Memory(
        weights=weights,
        # The optimizer's memory is the momentum and the decayed momentum. In a measurement, a step
        # without momentum took less memory, by 2.3 times the bytes of the weights (R50x1 and R50x2,
        # one image of 32x32).
        optimizer=2 * weights,
        # If the batch is processed in slices, memory holds the sum of the gradients and the
        # gradients of one slice.
        gradients=(1 + is_split) * weights,
        kernels=kernels,
        # If the batch is processed in slices, the images of the whole batch stay in memory.
        activations=activations + batch_size * _FLOAT32 * network.images * is_split,
        working=working,
        graph=graph * len(network.convolutions),
    )


def _moments(
    network: Network, batch_size: int, compute: int, remat: str | None
) -> Iterator[tuple[int, int, int]]:
    """Yields bytes (kernels, activations, working memory) at each step of the backward pass.

    The steps are the units, and the last normalization at the end of the network.
    """
    before = compute * (network.images + network.pool_inputs)
    # In float32, a group normalization with ReLU keeps a centred copy of its input. The input
    # itself, which the max-pool and rematerialized segments keep, then takes additional memory.
    is_apart = compute == _FLOAT32
    kernels_before = compute * network.root.parameters
    for segment in _segments(network, remat):
        inputs = compute * segment[0].inputs
        kept, kernels = before + is_apart * inputs, kernels_before
        for unit in segment:
            kept += _kept(unit.preactivations, compute)
            kernels += compute * sum(layer.parameters for layer in unit.convolutions)
            working = batch_size * (_working(unit.preactivations) + compute * unit.outputs)
            yield kernels, batch_size * kept, working + _working_on_kernel(unit)
        if remat is None:
            before, kernels_before = kept, kernels
        else:
            before += inputs
    kept = before + 2 * compute * network.end.elements
    yield kernels_before, batch_size * kept, batch_size * _working((network.end,))


def _segments(network: Network, remat: str | None) -> Iterable[tuple[Unit, ...]]:
    """Returns the groups of residual units that the backward pass recomputes together."""
    return {
        None: (network.units,),
        "block": network.blocks,
        "unit": tuple((unit,) for unit in network.units),
    }[remat]


def _kept(norms: tuple[Preactivation, ...], compute: int) -> int:
    """Returns the bytes of activations that are kept for the backward pass of one image."""
    padded = sum(norm.padded_elements for norm in norms)
    return compute * (2 * sum(norm.elements for norm in norms) + padded)


def _working(norms: tuple[Preactivation, ...]) -> int:
    """Returns the temporary bytes per image in the largest gradient of a group norm with ReLU."""
    return _WORKING_COPIES * _FLOAT32 * max(norm.elements for norm in norms)


def _working_on_kernel(unit: Unit) -> int:
    return _WORKING_COPIES * _FLOAT32 * max(layer.parameters for layer in unit.convolutions)

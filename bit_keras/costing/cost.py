"""Computes the memory, the multiply-adds and the time of a training before anything is built."""

import bisect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

from bit_keras.costing.devices import EFFICIENCY, Device, device_of, peak_of
from bit_keras.costing.memory import DTYPES, REMAT, Memory, memory
from bit_keras.costing.shapes import Network, network
from bit_keras.models.resnet import ResNetV2
from bit_keras.models.variants import find_variant
from bit_keras.utils.integers import check_integer

_GIB = 2**30


@dataclass(frozen=True)
class Cost:
    """The memory and the arithmetic that training a network needs, and an estimate of the time.

    Attributes:
        resolution: height and width of the training image in pixels.
        batch_size: number of images of a step, over all devices.
        steps: number of steps of the whole training, if it was given.
        parameters: number of parameters of the network with its head.
        multiply_adds: number of multiply-adds of a forward pass over one image, in the convolutions
            and the head.
        memory: memory of one device at the peak of a training step, in bytes, item by item.
        peak: the sum of these items, in bytes. TensorFlow's graph is a part of it only on a CPU.
        peak_by_remat: the peak with each value of `remat`: "unit", "block" and None.
        largest_batch: the largest number of images of a step, over all devices, that fits the
            given memory or else the memory of the device. 0 if no image fits; None if neither was
            given.
        images: number of images in all steps; None without steps.
        flops: floating-point operations of all steps, two for a multiply-add; None without steps.
        hours: duration of all steps; None without steps or a device.
    """

    resolution: int
    batch_size: int
    steps: int | None
    parameters: int
    multiply_adds: int
    memory: Memory
    peak: int
    peak_by_remat: dict[str | None, int]
    largest_batch: int | None
    images: int | None
    flops: float | None
    hours: float | None


def cost(
    model: str | ResNetV2,
    *,
    classes: int | None = None,
    resolution: int = 224,
    batch_size: int = 32,
    steps: int | None = None,
    dtype: str = "float32",
    remat: str | None = None,
    batch_split: int = 1,
    device: str | None = None,
    num_devices: int = 1,
    efficiency: float = EFFICIENCY,
    memory_gib: float | None = None,
) -> Cost:
    """Computes the memory, multiply-adds and time of a training with momentum SGD.

    Multiply-adds are counted layer by layer. The memory is counted tensor by tensor, as
    TensorFlow's graph needs it on a CPU (`bit_keras.costing.memory`), within 20 % of measurements.
    XLA, the default on GPU and TPU, may need less. The time is the time of the multiply-adds, at a
    share of the device's peak speed, on the device with the most images of a batch. Waiting for
    data is not included.

    Args:
        model: a name from `list_models()`, or a `ResNetV2` with group normalization and
            standardized kernels, as all named models have.
        classes: number of classes of the head; None is the model's own head.
        resolution: height and width of the training image in pixels.
        batch_size: number of images of a step, over all devices.
        steps: number of steps of the whole training; None gives the costs of one step only.
        dtype: "float32", "mixed_bfloat16" or "mixed_float16".
        remat: "unit" or "block", which are computed again in the backward pass; None for neither.
        batch_split: number of slices in which a step goes through its batch.
        device: a name from `bit_keras.costing.devices.DEVICES`; None is this machine's CPU, whose
            speed is not known.
        num_devices: number of devices that share each batch.
        efficiency: share of the device's peak speed that is reached, above 0 and at most 1.
        memory_gib: memory of one device in GiB; None is the memory in the table of devices.

    Raises:
        ValueError: an unknown name, a number out of its range, a `dtype` that the device does
            not compute in, or a network whose layers are not the layers of BiT.

    Example:

    >>> it = cost("BiT-M-R50x1", classes=1000)
    >>> it.parameters, round(it.multiply_adds / 1e9, 2)
    (25549352, 4.09)
    >>> cost("BiT-M-R50x1", memory_gib=8).largest_batch > 32
    True
    """
    resolution = _count("resolution", resolution)
    batch_size = _count("batch_size", batch_size)
    batch_split = _count("batch_split", batch_split)
    num_devices = _count("num_devices", num_devices)
    steps = None if steps is None else _count("steps", steps)
    classes = None if classes is None else _count("classes", classes)
    _check_choice("dtype", dtype, DTYPES)
    _check_choice("remat", remat, REMAT)
    _check_range("efficiency", efficiency, 1, "at most 1")
    if memory_gib is not None:
        _check_range("memory_gib", memory_gib, sys.float_info.max, "finite")
    on = None if device is None else device_of(device)
    speed = None if on is None else efficiency * peak_of(on, dtype)
    net = _network(model, resolution, classes)

    def at_peak(images: int, again: str | None = remat) -> Memory:
        return memory(net, images, dtype, again, batch_split)

    share = -(-batch_size // num_devices)
    gib = memory_gib or (on and on.memory_gib)
    largest = None
    if gib is not None:
        fitting = largest_batch(lambda images: _peak(at_peak(images), on), gib * _GIB)
        largest = num_devices * fitting
    peak_by_remat = {again: _peak(at_peak(share, again), on) for again in REMAT}
    image_flops = _flops(net, remat)
    return Cost(
        resolution=resolution,
        batch_size=batch_size,
        steps=steps,
        parameters=net.parameters,
        multiply_adds=net.multiply_adds,
        memory=at_peak(share),
        peak=peak_by_remat[remat],
        peak_by_remat=peak_by_remat,
        largest_batch=largest,
        images=None if steps is None else steps * batch_size,
        flops=None if steps is None else steps * batch_size * image_flops,
        hours=None if None in (steps, speed) else steps * share * image_flops / speed / 3600,
    )


def _network(model: str | ResNetV2, resolution: int, classes: int | None) -> Network:
    if isinstance(model, ResNetV2):
        depths, width = model.depths, model.width
        own, image_channels = model.classes if model.include_top else 0, model.input_shape[-1]
        _check_layers(model, network(depths, width, resolution, own, image_channels))
    else:
        variant = find_variant(model)
        depths, width = variant.architecture.depths, variant.architecture.width
        own, image_channels = variant.classes, 3
    return network(depths, width, resolution, own if classes is None else classes, image_channels)


def _check_layers(model: ResNetV2, counted: Network) -> None:
    if model.normalization != "group" or not model.standardize:
        raise ValueError(
            f"Model {model.name!r} has normalization={model.normalization!r} and "
            f"standardize={model.standardize}. Expected 'group' and True, as in BiT, because only "
            "the costs of such networks are known."
        )
    if model.count_params() != counted.parameters:
        raise ValueError(
            f"Model {model.name!r} has {model.count_params():,} parameters, but a ResNetV2 of its "
            f"depths and width has {counted.parameters:,}. The costs of layers before its "
            "input_tensor are not known: give a ResNetV2 without them."
        )


def _flops(net: Network, remat: str | None) -> int:
    """Returns the floating-point operations of a training step for one image."""
    # A training step takes 3 times the operations of the forward pass: the forward pass, the
    # gradients of the inputs and the gradients of the kernels. Rematerialization adds a second
    # forward pass.
    passes = 3 if remat is None else 4
    return 2 * passes * net.multiply_adds


def _peak(needed: Memory, device: Device | None) -> int:
    on_host = device is None or device.memory_gib is None
    return needed.cpu if on_host else needed.device


def _count(name: str, value) -> int:
    """Returns an argument as a Python int, because products of numpy integers can overflow."""
    # Sizes and steps must be below 2**63, because TensorFlow stores them as int64.
    return check_integer(name, value, bits=63)


def _check_choice(name: str, value, choices) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def _check_range(name: str, value, highest: float, limit: str) -> None:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 < value <= highest:
        raise ValueError(f"{name} must be above 0 and {limit}, got {value!r}.")


def largest_batch(peak: Callable[[int], float], limit: float) -> int:
    """Returns the largest batch size whose peak memory is at most `limit`; 0 if no image fits.

    Args:
        peak: the memory in bytes as a function of the number of images. It never falls, and grows
            without bound.
        limit: the memory in bytes.

    Example:

    >>> largest_batch(lambda images: 10 + 3 * images, 25)
    5
    """
    return bisect.bisect_right(range(1, 2**63), limit, key=peak)

"""`cost`: what a training will need, from plain numbers."""

import sys
from dataclasses import dataclass
from numbers import Real

from bit_keras.costing.devices import EFFICIENCY, Device, device_of, peak_of
from bit_keras.costing.largest_batch import largest_batch
from bit_keras.costing.memory import DTYPES, REMAT, Memory, memory
from bit_keras.costing.shapes import Network, network
from bit_keras.network_inputs import is_positive_integer
from bit_keras.resnet import ResNetV2
from bit_keras.zoo import VARIANTS, list_checkpoints

_GIB = 2**30

# Whose bytes are still a finite float.
_MOST_GIB = sys.float_info.max / _GIB

# TensorFlow counts sizes and steps in int64.
_COUNTS_END = 2**63


@dataclass(frozen=True)
class Cost:
    """What a training needs.

    Attributes:
        resolution: side of the square training image, in pixels.
        batch_size: images a step, over all devices.
        steps: of the whole training, if they were given.
        parameters: of the network with its head.
        multiply_adds: of a forward pass over one image: convolutions and head.
        memory: of one device at the peak of a training step, in bytes, item by item.
        peak: the sum of it that counts, in bytes: on a CPU TensorFlow's graph is part of it.
        peak_by_remat: what `peak` would be, by "unit", "block" and None.
        largest_batch: images a step, over all devices, that fit the memory that was given or that
            of the device; 0: not even one a device. None: neither was given.
        images: that are seen in all steps; None without steps.
        flops: of all steps, a multiply-add being two; None without steps.
        hours: of all steps; None without steps or a device.
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
    """Returns what training a network with momentum SGD needs, before anything is built.

    Multiply-adds are counted layer by layer. The memory is that of TensorFlow's graph on a CPU,
    tensor by tensor (`bit_keras.costing.memory`): within 20 % of what was measured there. XLA, the
    default on GPU and TPU, may need less. The time is that of the multiply-adds alone, at a share
    of the device's peak, on the device with the most images of a batch: data that come slowly are
    not in it.

    Args:
        model: a name from `list_models()`, or a `ResNetV2` with group normalization and
            standardized kernels, as all named ones have.
        classes: size of the head; None: the model's own.
        resolution: side of the square training image, in pixels.
        batch_size: images a step, over all devices.
        steps: of the whole training; None: only a step is looked at.
        dtype: "float32", "mixed_bfloat16" or "mixed_float16".
        remat: "unit" or "block": compute these again on the way back; None: nothing.
        batch_split: number of slices in which a step goes through its batch.
        device: a name from `bit_keras.costing.devices.DEVICES`; None: this machine's CPU, whose
            speed is not known.
        num_devices: that share each batch.
        efficiency: share of the device's peak that is reached, above 0 and at most 1.
        memory_gib: memory of one device, in GiB; None: that of the device's row.

    Raises:
        ValueError: an unknown name, a number out of its range, a `dtype` that the device does
            not compute in, or a network whose layers are not those of BiT.

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
        _check_range("memory_gib", memory_gib, _MOST_GIB, "finite")
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
    image_flops = _flops(net, remat)
    return Cost(
        resolution=resolution,
        batch_size=batch_size,
        steps=steps,
        parameters=net.parameters,
        multiply_adds=net.multiply_adds,
        memory=at_peak(share),
        peak=_peak(at_peak(share), on),
        peak_by_remat={again: _peak(at_peak(share, again), on) for again in REMAT},
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
        list_checkpoints(model)  # raises for an unknown name
        variant = VARIANTS[model]
        depths, width = variant.architecture.depths, variant.architecture.width
        own, image_channels = variant.upstream.classes, 3
    return network(depths, width, resolution, own if classes is None else classes, image_channels)


def _check_layers(model: ResNetV2, counted: Network) -> None:
    if model.normalization != "group" or not model.standardize:
        raise ValueError(
            f"Model {model.name!r} has normalization={model.normalization!r} and "
            f"standardize={model.standardize}, which are not counted: expected 'group' and True, "
            "which is BiT."
        )
    if model.count_params() != counted.parameters:
        raise ValueError(
            f"Model {model.name!r} has {model.count_params():,} parameters, and a ResNetV2 of its "
            f"depths and width {counted.parameters:,}: the layers before its input_tensor are not "
            "counted. Give a ResNetV2 without them."
        )


def _flops(net: Network, remat: str | None) -> int:
    """Of a training step, for one image."""
    # The way back has a product for the gradient of the input and one for that of the kernel, each
    # as large as the forward pass, which rematerialization does again.
    passes = 3 if remat is None else 4
    return 2 * passes * net.multiply_adds


def _peak(needed: Memory, device: Device | None) -> int:
    on_host = device is None or device.memory_gib is None
    return needed.cpu if on_host else needed.device


def _count(name: str, value) -> int:
    """The value as Python's integer, whose products do not overflow as numpy's do."""
    if not is_positive_integer(value) or value >= _COUNTS_END:
        raise ValueError(f"{name} must be an integer of at least 1 and below 2**63, got {value!r}.")
    return int(value)


def _check_choice(name: str, value, choices) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def _check_range(name: str, value, highest: float, limit: str) -> None:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 < value <= highest:
        raise ValueError(f"{name} must be above 0 and {limit}, got {value!r}.")

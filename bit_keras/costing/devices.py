"""Accelerators by name: their peak and their memory, and how long a training takes on them."""

from dataclasses import dataclass
from types import MappingProxyType

from bit_keras.nearest_name import nearest_name

# The share of a device's peak that training reaches, where the caller names none. In mixed
# precision on an RTX 3090, by the training rates of timm 0.6 (its file
# results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv): R50x1 at 224 0.20, R101x1 at 448 0.22,
# R152x2 at 224 0.34, R152x4 at 480 0.34, R50x3 at 448 0.42. The paper's own run of R152x4 on TPUs
# comes to 0.25 (tests/costing/test_cost.py).
EFFICIENCY = 0.3


@dataclass(frozen=True)
class Device:
    """An accelerator.

    Attributes:
        name: as `--device` takes it.
        memory_gib: of the device; None: that of the machine.
        peaks: dtype policy: FLOP/s of dense products of matrices, a multiply-add being two; what is
            missing it does not have.
    """

    name: str
    memory_gib: float | None
    peaks: MappingProxyType


def _device(name: str, memory_gib: float | None, float32, bfloat16, float16) -> Device:
    tera = {"float32": float32, "mixed_bfloat16": bfloat16, "mixed_float16": float16}
    peaks = {dtype: peak * 1e12 for dtype, peak in tera.items() if peak is not None}
    return Device(name, memory_gib, MappingProxyType(peaks))


# Dense, without sparsity; half precision with sums in float32. TensorFlow computes float32 on
# NVIDIA's GPUs since Ampere in TF32, and on TPUs in bfloat16. A V100 has no bfloat16.
DEVICES = MappingProxyType(
    {
        device.name: device
        for device in (
            # name, GiB, TFLOP/s in float32, mixed_bfloat16, mixed_float16
            _device("V100", 16, 15.7, None, 125),  # A100 white paper, V100 SXM2 beside it
            _device("RTX-3090", 24, 35.6, 71, 71),  # GA102 white paper, appendix A
            _device("A100", 40, 156, 312, 312),  # A100's data sheet
            _device("A100-80GB", 80, 156, 312, 312),  # the same
            _device("RTX-4090", 24, 82.6, 165.2, 165.2),  # Ada white paper, appendix A
            _device("H100", 80, 494.7, 989.4, 989.4),  # H100 white paper, SXM5
            # cloud.google.com/tpu/docs: v3 123, v4 275, v5e 197 a chip; v2 180 for a board of four,
            # as it was announced. A chip of v2 and v3 is two devices, as TensorFlow counts them:
            # its cores.
            _device("TPU-v2-core", 8, 22.5, 22.5, None),
            _device("TPU-v3-core", 16, 61.5, 61.5, None),
            _device("TPU-v4", 32, 275, 275, None),
            _device("TPU-v5e", 16, 197, 197, None),
            # Products of 4096x4096 matrices on two cores of an AMD EPYC with AVX-512, halved.
            _device("CPU-core", None, 0.0885, 0.196, None),
        )
    }
)


def device_of(name: str) -> Device:
    """Returns a row of the table; upper or lower case.

    Raises:
        ValueError: it has no such device.
    """
    for known, device in DEVICES.items():
        if str(name).casefold() == known.casefold():
            return device
    raise ValueError(
        f"Unknown device {name!r}; the nearest name is {nearest_name(name, DEVICES)!r}. Expected "
        f"one of {', '.join(DEVICES)}."
    )


def peak_of(device: Device, dtype: str) -> float:
    """Returns the peak of a device under a dtype policy, in FLOP/s.

    Raises:
        ValueError: the device has no such arithmetic.
    """
    if dtype not in device.peaks:
        raise ValueError(f"{device.name} has no peak in {dtype}; it has {', '.join(device.peaks)}.")
    return device.peaks[dtype]

"""A table of accelerators: their names, their memory, and their peak speeds."""

from dataclasses import dataclass
from types import MappingProxyType

from bit_keras.utils.nearest_name import unknown_name

# The default share of a device's peak speed that training reaches. By timm 0.6's training rates in
# mixed precision on an RTX 3090 (results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv) it is
# 0.20 for R50x1 at 224 pixels, 0.22 for R101x1 at 448, 0.34 for R152x2 at 224, 0.34 for R152x4 at
# 480 and 0.42 for R50x3 at 448. For the paper's run of R152x4 on TPUs it is 0.25
# (tests/costing/test_cost.py).
EFFICIENCY = 0.3


@dataclass(frozen=True)
class Device:
    """An accelerator (GPU, TPU or CPU) with its memory and peak speeds.

    Attributes:
        name: the value of `--device`.
        memory_gib: memory of the device in GiB; None for the memory of the machine.
        peaks: peak speed in FLOP/s, by dtype policy, for products of dense matrices; a multiply-add
            counts as two. A policy that the device does not compute in is missing.
    """

    name: str
    memory_gib: float | None
    peaks: MappingProxyType


def _device(name: str, memory_gib: float | None, float32, bfloat16, float16) -> Device:
    tera = {"float32": float32, "mixed_bfloat16": bfloat16, "mixed_float16": float16}
    peaks = {dtype: peak * 1e12 for dtype, peak in tera.items() if peak is not None}
    return Device(name, memory_gib, MappingProxyType(peaks))


# The peak speeds are for products of dense matrices; in half precision, the sums are accumulated in
# float32. For the float32 policy, TensorFlow computes in TF32 on NVIDIA's GPUs since Ampere, and in
# bfloat16 on TPUs. A V100 does not compute in bfloat16. The sources are NVIDIA's white papers on
# the A100 (for the V100 SXM2), on GA102 (appendix A, RTX 3090), on Ada (appendix A, RTX 4090) and
# on the H100 (SXM5), and the data sheet of the A100.
DEVICES = MappingProxyType(
    {
        device.name: device
        for device in (
            # The arguments of `_device` are the name, the memory in GiB, and the peak speeds in
            # TFLOP/s in float32, mixed_bfloat16 and mixed_float16.
            _device("V100", 16, 15.7, None, 125),
            _device("RTX-3090", 24, 35.6, 71, 71),
            _device("A100", 40, 156, 312, 312),
            _device("A100-80GB", 80, 156, 312, 312),
            _device("RTX-4090", 24, 82.6, 165.2, 165.2),
            _device("H100", 80, 494.7, 989.4, 989.4),
            # For TPUs, cloud.google.com/tpu/docs gives 123 TFLOP/s for a chip of v3, 275 for v4 and
            # 197 for v5e. TPU v2 was announced with 180 TFLOP/s for a board of four chips.
            # TensorFlow counts each of the two cores of a v2 or v3 chip as a device.
            _device("TPU-v2-core", 8, 22.5, 22.5, None),
            _device("TPU-v3-core", 16, 61.5, 61.5, None),
            _device("TPU-v4", 32, 275, 275, None),
            _device("TPU-v5e", 16, 197, 197, None),
            # The speed of a CPU core is half the measured speed of two cores of an AMD EPYC with
            # AVX-512, on products of matrices of 4096x4096.
            _device("CPU-core", None, 0.0885, 0.196, None),
        )
    }
)


def device_of(name: str) -> Device:
    """Returns the device with a name such as "A100", which may be in upper or lower case.

    Raises:
        ValueError: the table has no such device.
    """
    for known, device in DEVICES.items():
        if str(name).casefold() == known.casefold():
            return device
    raise unknown_name("device", name, DEVICES)


def peak_of(device: Device, dtype: str) -> float:
    """Returns the peak speed of a device under a dtype policy, in FLOP/s.

    Raises:
        ValueError: the device does not compute in this dtype.
    """
    if dtype not in device.peaks:
        raise ValueError(
            f"device={device.name!r} does not compute in dtype={dtype!r}. Choose one of "
            f"{', '.join(device.peaks)}."
        )
    return device.peaks[dtype]

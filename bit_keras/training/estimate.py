"""Computes the memory and time of a training before it starts; refuses one that cannot fit."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from bit_keras.costing.cost import Cost, cost
from bit_keras.costing.devices import EFFICIENCY
from bit_keras.costing.memory import DTYPES
from bit_keras.hyperrule import HyperRule
from bit_keras.models.resnet import ResNetV2
from bit_keras.training.options import RunOptions
from bit_keras.training.recipes import UpstreamRule
from bit_keras.utils.duration import duration
from bit_keras.utils.machine_memory import machine_memory

_GIB = 2**30

# A training on a CPU reaches 0.7 of the speed of matrix products: a training step of R50x1 with 8
# images of 224 pixels takes 766 ms, and a matrix product of as many multiply-adds 534 ms.
_CPU_EFFICIENCY = 0.7

# The memory that `bit_keras.cost` computes is within 20 % of measurements. A training is refused
# only if it seems to need more than this factor times the machine's memory.
_ACCURACY = 1.2

# Linux writes the memory limit of a container, in bytes, into one of these files.
_CONTAINER_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)

_SIDE_OF_PROBE = 1024


@dataclass(frozen=True)
class Estimate:
    """The memory and the time that a training needs, as far as they can be computed.

    Attributes:
        text: one sentence for the user, with the memory and the time.
        refusal: why the training cannot fit this machine, and what would fit; or None.
    """

    text: str
    refusal: str | None


def estimate(
    network: keras.Model,
    rule: HyperRule | UpstreamRule,
    options: RunOptions,
    strategy: tf.distribute.Strategy,
) -> Estimate | None:
    """Estimates memory and time for training a whole network; None if they cannot be computed.

    The memory is computed from the layers. The time is computed from the multiply-adds and the
    speed of a matrix product, which is measured here in some milliseconds; waiting for data and
    evaluations come on top.

    Args:
        network: the network that is trained.
        rule: the image size, the batch size and the number of steps.
        options: how the memory of a step is reduced.
        strategy: the devices that share a batch.
    """
    replicas = strategy.num_replicas_in_sync
    # The number of replicas on this machine. TensorFlow's default strategy, which has one replica,
    # has no list of devices.
    here = 1 if replicas == 1 else len(strategy.extended.worker_devices)

    def needed(batch_size: int, batch_split: int, remat: str | None) -> Cost:
        return cost(
            network,
            resolution=rule.crop,
            batch_size=batch_size,
            steps=max(1, rule.steps * rule.batch_size // batch_size),
            dtype=network.dtype_policy.name,
            remat=remat,
            batch_split=batch_split,
            num_devices=replicas,
        )

    if not isinstance(network, ResNetV2) or network.dtype_policy.name not in DTYPES:
        return None
    # A network with frozen layers gets no estimate, because it needs less memory and time than is
    # computed here.
    if network.non_trainable_weights:
        return None
    try:
        planned = needed(rule.batch_size, options.batch_split, options.remat)
    # `cost` raises a ValueError or an AttributeError if the layers of the network are not those of
    # BiT.
    except (ValueError, AttributeError):
        return None
    # The speed of a TPU cannot be measured by a single matrix product, so no time is computed.
    if tf.config.list_logical_devices("TPU"):
        return Estimate(f"A step needs about {planned.peak / _GIB:.1f} GiB on each device.", None)
    on_cpu = not tf.config.list_logical_devices("GPU")
    speed = _flops_a_second(network.compute_dtype) * (_CPU_EFFICIENCY if on_cpu else EFFICIENCY)
    # All CPU devices of a machine share its cores, so together they are not faster than one.
    speed *= replicas / here if on_cpu else replicas
    time_needed = (
        f"the training takes about {duration(planned.flops / speed)}. (Computed; reading images "
        "comes on top.)"
    )
    if not on_cpu:
        memory = f"{planned.peak / _GIB:.1f} GiB of memory on each device"
        return Estimate(f"A step needs about {memory}; {time_needed}", None)
    peak, total = planned.peak * here, _machine_memory()
    memory = f"{peak / _GIB:.1f} GiB of memory, of {total / _GIB:.1f} GiB here"
    text = f"A step needs about {memory}; {time_needed}"
    if peak <= total:
        return Estimate(text, None)
    ways = "; ".join(
        f"{flags} ({fitting.peak * here / _GIB:.1f} GiB, about {duration(fitting.flops / speed)})"
        for flags, fitting in _fitting(needed, rule, options, total / here)
    )
    advice = f"This would fit: {ways}." if ways else "Take a smaller network or smaller images."
    if peak <= _ACCURACY * total:
        return Estimate(f"{text} It may be too much. {advice}", None)
    return Estimate(text, f"The training cannot fit. {text} {advice}")


def _fitting(
    needed: Callable[[int, int, str | None], Cost],
    rule: HyperRule | UpstreamRule,
    options: RunOptions,
    memory: float,
) -> Iterator[tuple[str, Cost]]:
    """Yields command-line flags with which a step fits into the memory, each with its cost."""
    sizes = [2**k for k in range(1, rule.batch_size.bit_length())]
    for remat in dict.fromkeys((options.remat, options.remat or "unit")):
        for batch_split in sizes:
            it = needed(rule.batch_size, batch_split, remat)
            if batch_split > options.batch_split and it.peak <= memory:
                added = f" --remat {remat}" if remat != options.remat else ""
                yield f"--batch_split {batch_split}{added}", it
                break
    for batch_size in reversed([1, *sizes]):
        it = needed(batch_size, min(options.batch_split, batch_size), options.remat)
        if batch_size < rule.batch_size and it.peak <= memory:
            yield f"--batch_size {batch_size} --steps {it.steps}", it
            break


def _machine_memory() -> int:
    """Returns how many bytes of memory this process may use: the machine's or the container's."""
    total = machine_memory()
    for file in _CONTAINER_LIMITS:
        # Where there is no memory limit, the file of the limit does not exist or holds the word
        # "max".
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(file).read_text()))
    return total


@functools.cache
def _flops_a_second(dtype: str) -> float:
    """Measures the speed of a matrix product on this machine's first device; returns FLOP/s."""
    side = _SIDE_OF_PROBE
    matrix = tf.ones((side, side), dtype)
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        tf.linalg.matmul(matrix, matrix)[0, 0].numpy()
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)

"""`bit_keras.cost`: sums worked out by hand, the largest batch, and mistakes."""

import dataclasses
import re

import keras
import numpy as np
import pytest
from networks import tiny

import bit_keras
from bit_keras.costing.devices import DEVICES, EFFICIENCY
from bit_keras.models.variants import ARCHITECTURES


def test_a_training_by_hand():
    cost = bit_keras.cost(
        "BiT-M-R50x1",
        classes=1000,
        batch_size=512,
        steps=500,
        dtype="mixed_bfloat16",
        device="A100",
        num_devices=8,
        efficiency=0.25,
    )
    assert cost.images == 256_000
    # Forward, and twice as much back; 4 089 184 256 multiply-adds of two operations each.
    assert cost.flops == 256_000 * 3 * 2 * 4_089_184_256
    assert cost.hours == pytest.approx(cost.flops / (8 * 312e12 * 0.25) / 3600)


def test_rematerialization_goes_forward_twice():
    plain, again = (bit_keras.cost("BiT-S-R50x1", steps=1, remat=r) for r in (None, "block"))
    assert again.flops == pytest.approx(plain.flops * 4 / 3)
    assert again.peak < plain.peak
    assert plain.peak_by_remat["block"] == again.peak


# The paper pre-trained BiT-L R152x4 on TPUv3-512 (arXiv 1912.11370, section 3.1): 300 million
# images, 40 epochs. How long is told by arXiv 2010.11929, table 2: 9.9 thousand core-days.
def test_the_papers_own_run():
    cost = bit_keras.cost(
        "BiT-L-R152x4",
        batch_size=4096,
        steps=300_000_000 * 40 // 4096,
        dtype="mixed_bfloat16",
        device="TPU-v3-core",
        num_devices=512,
    )
    core_days = cost.hours / 24 * 512
    assert core_days == pytest.approx(9900, rel=0.25)
    assert core_days * EFFICIENCY / 9900 == pytest.approx(0.25, abs=0.01)


# Images a second of training in mixed precision, by timm's
# results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv: pixels, batch, rate.
TIMM = {
    "R50x1": (224, 192, 585.83),
    "R101x1": (448, 16, 84.72),
    "R50x3": (448, 16, 34.68),
    "R101x3": (448, 8, 18.05),
    "R152x2": (224, 32, 89.16),
    "R152x4": (480, 2, 4.89),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_default_efficiency_is_near_measured_rates(architecture):
    pixels, batch_size, rate = TIMM[architecture]
    cost = bit_keras.cost(
        f"BiT-S-{architecture}",
        resolution=pixels,
        batch_size=batch_size,
        steps=1000,
        dtype="mixed_float16",
        device="RTX-3090",
    )
    assert cost.hours == pytest.approx(batch_size * 1000 / rate / 3600, rel=0.45)


@pytest.mark.parametrize("remat", [None, "unit", "block"])
@pytest.mark.parametrize("batch_split", [1, 3])
def test_the_largest_batch_fits_and_one_more_does_not(remat, batch_split):
    def cost(batch_size):
        return bit_keras.cost(
            "BiT-M-R50x1",
            batch_size=batch_size,
            remat=remat,
            batch_split=batch_split,
            memory_gib=8,
        )

    largest = cost(1).largest_batch
    assert cost(largest).peak <= 8 * 2**30 < cost(largest + 1).peak


def test_devices_share_a_batch():
    one = bit_keras.cost("BiT-M-R50x1", batch_size=16, device="A100")
    four = bit_keras.cost("BiT-M-R50x1", batch_size=61, device="A100", num_devices=4)
    assert four.memory == one.memory
    assert four.largest_batch == 4 * one.largest_batch


def test_the_time_is_that_of_the_device_with_the_most_images():
    def hours(num_devices):
        return bit_keras.cost(
            "BiT-M-R50x1", steps=1000, batch_size=32, device="A100", num_devices=num_devices
        ).hours

    assert hours(1) == pytest.approx(32 * hours(32))
    assert hours(31) == hours(16) == pytest.approx(2 * hours(32))
    assert hours(512) == hours(32)


def test_nothing_fits():
    assert bit_keras.cost("BiT-M-R152x4", memory_gib=8).largest_batch == 0
    assert bit_keras.cost("BiT-M-R50x1").largest_batch is None


def test_the_graph_lies_on_the_host():
    cpu, gpu = bit_keras.cost("BiT-M-R50x1"), bit_keras.cost("BiT-M-R50x1", device="v100")
    assert cpu.memory == gpu.memory
    assert cpu.peak - gpu.peak == cpu.memory.graph


def test_of_a_built_model():
    model = tiny(classes=10)
    assert bit_keras.cost(model, resolution=32).parameters == model.count_params()
    assert bit_keras.cost(model, classes=3).parameters == tiny(classes=3).count_params()
    headless = tiny(include_top=False)
    assert bit_keras.cost(headless).parameters == headless.count_params()
    gray = tiny(input_shape=(None, None, 1))
    assert bit_keras.cost(gray).parameters == gray.count_params()
    rows = [bit_keras.cost(it, classes=10, resolution=32).multiply_adds for it in (model, gray)]
    assert rows[0] - rows[1] == 7 * 7 * 2 * 32 * 16**2


def test_layers_that_are_not_counted():
    for arguments in ({"normalization": "batch"}, {"standardize": False}):
        with pytest.raises(ValueError, match="Expected 'group' and True, as in BiT"):
            bit_keras.cost(tiny(**arguments))
    images = keras.Input((None, None, 1))
    colored = keras.layers.Conv2D(3, 1)(images)
    with pytest.raises(ValueError, match="before its input_tensor are not known"):
        bit_keras.cost(tiny(input_tensor=colored))


def test_numbers_of_numpy_do_not_overflow():
    ours = bit_keras.cost("BiT-M-R50x1", steps=10**6, batch_size=4096)
    numpys = np.int32(10**6), np.int32(4096)
    assert bit_keras.cost("BiT-M-R50x1", steps=numpys[0], batch_size=numpys[1]) == ours


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "BiT-M-R50"}, "Unknown model 'BiT-M-R50'; the nearest"),
        ({"resolution": 0}, "resolution must be an integer of at least 1 and below 2**63, got 0"),
        ({"steps": 10**400}, "steps must be an integer of at least 1 and below 2**63, got 1000"),
        ({"batch_size": 1.5}, "batch_size must be an integer"),
        ({"batch_split": -1}, "batch_split must be"),
        ({"num_devices": True}, "num_devices must be"),
        ({"steps": 0}, "steps must be"),
        ({"classes": 0}, "classes must be"),
        ({"dtype": "float16"}, "dtype must be one of 'float32', 'mixed_bfloat16'"),
        ({"remat": "units"}, "remat must be one of None, 'unit', 'block', got 'units'"),
        ({"device": "A10"}, "Unknown device 'A10'; the nearest name is 'A100'"),
        ({"efficiency": 30}, "efficiency must be above 0 and at most 1, got 30"),
        ({"efficiency": float("nan")}, "efficiency must be above 0"),
        ({"memory_gib": 0.0}, "memory_gib must be above 0 and finite, got 0.0"),
        ({"memory_gib": 10**400}, "memory_gib must be"),
        ({"device": 3}, "Unknown device 3; the nearest name is"),
        ({"memory_gib": float("inf")}, "memory_gib must be"),
        (
            {"device": "V100", "dtype": "mixed_bfloat16"},
            "device='V100' does not compute in dtype='mixed_bfloat16'. Choose one of float32",
        ),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        bit_keras.cost(**{"model": "BiT-M-R50x1", **arguments})


def test_the_tables_cannot_be_changed():
    with pytest.raises(TypeError):
        DEVICES["A100"].peaks["float32"] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEVICES["A100"].name = "B100"

"""The layers of a network, against built networks and against what XLA is given."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import bit_keras
from bit_keras.costing.shapes import network
from bit_keras.models.variants import ARCHITECTURES

SMALL = [((1, 1, 1, 1), 0.5, 32), ((2, 1, 3, 1), 0.5, 33), ((1, 2, 1, 1), 1.5, 50)]


def layers_of(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


@pytest.mark.parametrize(("depths", "width", "pixels"), SMALL)
def test_it_is_the_built_network(depths, width, pixels):
    model = bit_keras.ResNetV2(depths, width, classes=7, input_shape=(pixels, pixels, 3))
    ours = network(depths, width, pixels, classes=7)
    assert ours.parameters == model.count_params()
    convolutions = layers_of(model, bit_keras.StandardizedConv2D)
    assert sorted((c.size, c.channels, c.filters, c.side) for c in ours.convolutions) == sorted(
        (*layer.kernel.shape[1:], layer.output.shape[1]) for layer in convolutions
    )
    assert ours.multiply_adds == 7 * model.endpoints["features"].shape[-1] + sum(
        layer.kernel.shape.num_elements() * layer.output.shape[1] ** 2 for layer in convolutions
    )
    norms = [norm for unit in ours.units for norm in unit.preactivations] + [ours.end]
    assert sorted((n.side, n.channels) for n in norms) == sorted(
        layer.output.shape[2:] for layer in layers_of(model, bit_keras.GroupNormalization)
    )
    padded = [norm.padded_elements for norm in norms if norm.padded_elements]
    assert [ours.images, ours.pool_inputs, *padded] == [
        layer.output.shape[1] ** 2 * layer.output.shape[3]
        for layer in layers_of(model, keras.layers.ZeroPadding2D)
    ]
    flows = [(size := b.shape[1]) * size * b.shape[3] for b in model.unit_boundaries]
    assert [unit.outputs for unit in ours.units] == flows[1:]
    assert [unit.inputs for unit in ours.units] == flows[:-1]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_are_those_of_the_zoo(name):
    architecture = ARCHITECTURES[name]
    ours = network(architecture.depths, architecture.width, 224, classes=1000)
    assert ours.body_parameters == architecture.parameters


# What jax 0.10 gives XLA to compute, by tests/costing/xla_program.py.
XLA = {
    "R50x1": 4_089_184_256,
    "R101x1": 7_801_405_440,
    "R50x3": 36_082_286_592,
    "R101x3": 69_492_277_248,
    "R152x2": 45_814_382_592,
    "R152x4": 182_777_282_560,
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_multiply_adds_are_those_that_xla_is_given(name):
    architecture = ARCHITECTURES[name]
    ours = network(architecture.depths, architecture.width, 224, classes=1000)
    assert ours.multiply_adds == XLA[name]


@pytest.mark.peer
def test_xla_is_given_that_still():
    program = Path(__file__).with_name("xla_program.py")
    result = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    lines = [line.split() for line in result.stdout.splitlines()]
    assert {name: int(number) for name, number in lines} == XLA

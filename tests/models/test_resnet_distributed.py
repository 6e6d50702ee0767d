"""ResNetV2 under tf.distribute: twenty steps give the weights of one process."""

import distributed_program as program
import numpy as np
import pytest
from networks import randomize, tiny
from reference import relative_error

import bit_keras

OPTIONS = "float64"


@pytest.fixture(scope="module")
def expected():
    return program.everything(program.compiled(program.resnet(), **program.OPTIONS[OPTIONS]()))


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert relative_error(found[name], value) < 1e-5, name


@pytest.mark.slow
def test_two_replicas(mirrored, expected):
    with mirrored.scope():
        model = program.compiled(program.resnet(), **program.OPTIONS[OPTIONS]())
    assert isinstance(model, bit_keras.ResNetV2)
    assert_same(program.everything(model), expected)


@pytest.mark.slow
def test_two_workers(tmp_path, expected):
    for status, log, output in program.run_workers(2, "resnet", OPTIONS, tmp_path):
        assert status == 0, log
        assert_same(np.load(output), expected)


def test_weights_loaded_in_a_scope_are_on_every_replica(mirrored, tmp_path):
    source = randomize(tiny())
    bit_keras.save_npz(source, tmp_path / "weights.npz")
    with mirrored.scope():
        model = tiny()
        bit_keras.load_npz(model, tmp_path / "weights.npz")
    for variable, expected in zip(model.weights, source.weights, strict=True):
        for replica in mirrored.experimental_local_results(variable.value):
            np.testing.assert_array_equal(replica.numpy(), expected.value.numpy())

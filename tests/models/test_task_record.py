"""Class names go with the output of the model that has them, into other models around it."""

import keras
import pytest
from networks import tiny

import bit_keras
from bit_keras.models.task_record import TaskRecord, class_names_of, record_of, remember

NAMES = ("ant", "bee", "cat")


def named(names=NAMES):
    network = tiny(classes=3, input_shape=(32, 32, 3))
    network.class_names = names
    return network


def around(network, cls=bit_keras.Model):
    inputs = keras.Input((32, 32, 3))
    return cls(inputs, network(keras.layers.Rescaling(1 / 127.5, -1)(inputs)))


WITH_NAMES = {
    "same output": lambda m: bit_keras.Model(m.input, m.output),
    "nested": around,
    "nested in a stock model": lambda m: around(m, keras.Model),
    "stock model": lambda m: keras.Model(m.input, m.output),
    "sequential": lambda m: keras.Sequential([keras.Input((32, 32, 3)), m]),
    "twice": lambda m: around(bit_keras.Model(m.input, m.output)),
    "input tensor": lambda m: bit_keras.Model(m.inputs, m.outputs[0]),
    "list of outputs": lambda m: keras.Model(m.inputs, m.outputs),
}

WITHOUT_NAMES = {
    "features": lambda m: bit_keras.Model(m.input, m.endpoints["features"]),
    "new head": lambda m: bit_keras.Model(m.input, keras.layers.Dense(3)(m.endpoints["features"])),
    "scaled": lambda m: bit_keras.Model(m.input, 2 * m.output),
    "two outputs": lambda m: bit_keras.Model(m.input, [m.output, m.endpoints["features"]]),
}


@pytest.mark.parametrize("wrap", WITH_NAMES.values(), ids=WITH_NAMES)
def test_a_model_of_the_same_output_has_the_names(wrap, tmp_path):
    network = named()
    model = wrap(network)
    assert class_names_of(model) == NAMES
    if isinstance(model, bit_keras.Model):
        assert model.class_names == NAMES
        model.save(tmp_path / "model.keras")
        assert keras.models.load_model(tmp_path / "model.keras").class_names == NAMES
    model.class_names = None
    assert record_of(model) is None
    assert network.class_names == NAMES
    if isinstance(model, bit_keras.Model):
        model.save(tmp_path / "model.keras")
        assert keras.models.load_model(tmp_path / "model.keras").class_names is None


@pytest.mark.parametrize("wrap", WITHOUT_NAMES.values(), ids=WITHOUT_NAMES)
def test_a_model_of_another_output_has_no_names(wrap):
    model = wrap(named())
    assert model.class_names is None
    assert record_of(model) is None


def test_the_whole_record_goes_with_the_names():
    network = keras.Sequential([keras.Input((32, 32, 3)), tiny(classes=3)])
    record = TaskRecord(NAMES, name="folder:pets", location="/pets", crop=20)
    remember(network, record)
    assert record_of(bit_keras.Model(network.inputs, network.outputs)) == record
    assert record_of(keras.Model(network.inputs, network.outputs)) == record


def test_a_model_without_names_gives_none():
    network = named(None)
    assert record_of(bit_keras.Model(network.input, network.output)) is None

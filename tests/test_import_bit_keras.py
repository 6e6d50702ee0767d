"""`import bit_keras` imports no Keras, and Keras still finds every class of the package."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_package import output_of

import bit_keras

# What is saved must load after these imports, whichever comes first.
ORDERS = {
    "bit_keras, keras": "import bit_keras; import keras",
    "keras, bit_keras": "import keras; import bit_keras",
}
TF_KERAS_ORDERS = {
    "bit_keras, tensorflow": "import bit_keras; import tensorflow as tf; keras = tf.keras",
    "tensorflow, bit_keras": "import tensorflow as tf; keras = tf.keras; import bit_keras",
}

# A model, and what Keras saves beside it: an optimizer with its schedule, and a metric.
SAVE = """
import keras, bit_keras, sys
inputs = keras.Input((8, 8, 3))
x = bit_keras.StandardizedConv2D(8, 3)(inputs)
x = bit_keras.GroupNormalization(4, activation="relu")(x)
outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
model = bit_keras.Model(inputs, outputs)
rule = bit_keras.HyperRule.for_task(100, (8, 8))
model.compile(
    bit_keras.DecayedSGD(rule.schedule()), loss="mse", metrics=[bit_keras.precision_at_one]
)
model.save(sys.argv[1])
"""
LOAD = """
model = keras.models.load_model({path!r})
kinds = [type(layer).__module__ for layer in model.layers[1:3]]
print(*kinds, type(model.optimizer).__name__, type(model.optimizer._learning_rate).__name__)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    subprocess.run([sys.executable, "-c", SAVE, str(path)], check=True, timeout=120)
    return str(path)


def check_that_it_loads(imports, path, **environment):
    words = output_of(imports + LOAD.format(path=path), **environment).split()
    assert words == [
        "bit_keras.layers.standardized_conv2d",
        "bit_keras.layers.group_normalization",
        "DecayedSGD",
        "HyperRuleSchedule",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_a_saved_model_loads_in_either_order_of_imports(order, saved):
    check_that_it_loads(ORDERS[order], saved)


@pytest.mark.slow
@pytest.mark.parametrize("order", TF_KERAS_ORDERS)
def test_a_saved_model_loads_by_tf_keras(order, saved):
    check_that_it_loads(TF_KERAS_ORDERS[order], saved)


@pytest.mark.peer
@pytest.mark.parametrize("order", ORDERS)
def test_a_saved_model_loads_under_jax(order, saved):
    check_that_it_loads(ORDERS[order], saved, KERAS_BACKEND="jax")


def test_import_brings_neither_keras_nor_numpy():
    found = set(output_of("import bit_keras, sys; print(*sys.modules)").split())
    assert not found & {"keras", "tensorflow", "numpy"}


# Maps each module that defines public names to one of these names.
ONE_OF_EACH_MODULE = {
    getattr(getattr(bit_keras, name), "__module__", name): name for name in bit_keras.__all__
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        *(f"import bit_keras; bit_keras.{name}" for name in ONE_OF_EACH_MODULE.values()),
        "from bit_keras.layers import GroupNormalization",
        "from bit_keras.data.tasks import pretraining_task",
    ],
)
def test_any_name_may_be_the_first_that_needs_keras(statement):
    # Keras' own numpy backend is imported faster than TensorFlow.
    output_of(f"{statement}; import keras", KERAS_BACKEND="numpy")


def test_all_names_are_imported_by_a_star():
    names = {}
    exec("from bit_keras import *", names)
    assert set(bit_keras.__all__) <= set(names)
    assert set(dir(bit_keras)) == set(bit_keras.__all__)


def test_editors_read_the_names_that_are_there():
    source = Path(bit_keras.__file__).read_text()
    block = source.split("if TYPE_CHECKING:")[1].split("\n\n")[0]
    imported = {
        name.strip()
        for line in block.splitlines()
        if " import " in line
        for name in line.split(" import ")[1].split(",")
    }
    assert imported == {*bit_keras._MODULES, "layers"}

"""Several runs in one process: same initial state, and no memory is kept."""

import gc

import keras
import numpy as np
import pytest
from array_tasks import array_task
from networks import QuickResNet, randomize, tiny
from tensorflow.python.framework.func_graph import FuncGraph

import bit_keras
from bit_keras.experiments.repeated_runs import fresh_start, release

pytestmark = pytest.mark.usefixtures("no_drawing")


def variables(model):
    return [keras.ops.convert_to_numpy(variable.value) for variable in model.variables]


def test_a_name_is_returned_unchanged():
    fresh = fresh_start("BiT-M-R50x1")
    assert fresh() == fresh() == "BiT-M-R50x1"


def test_a_network_gets_its_initial_variables_back():
    inputs = keras.Input((None, None, 3))
    outputs = randomize(tiny())(keras.layers.Dropout(0.5)(inputs))
    model = keras.Model(inputs, outputs)
    before = variables(model)
    assert len(before) > len(model.weights)  # the state of Dropout's generator
    fresh = fresh_start(model)
    for _ in range(2):
        for variable in model.variables:
            variable.assign(variable + 1)
        assert fresh() is model
        for a, b in zip(variables(model), before, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_run_leaves_no_graph_behind(tmp_path):
    """A graph that stays in memory would hold the weights and the optimizer of its run."""

    def graphs():
        # The graphs are kept, so that no new graph gets the id of an old one.
        things = (thing for thing in gc.get_objects() if issubclass(type(thing), FuncGraph))
        return {id(thing): thing for thing in things}

    def run(seed):
        bit_keras.finetune(
            QuickResNet(classes=2),
            array_task(np.zeros((4, 8, 8, 3), "uint8"), [0, 1, 0, 1]),
            budget={"steps": 1, "batch_size": 2, "resize": 36, "crop": 32},
            seed=seed,
            output_dir=tmp_path / str(seed),
            verbose=False,
        )
        release()

    run(seed=1)  # Keras makes some graphs once in a process
    before = graphs()
    run(seed=2)
    assert graphs().keys() <= before.keys()

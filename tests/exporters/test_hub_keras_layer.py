"""An export in tf_keras: what `hub.KerasLayer` trains is what the Keras 3 model trains."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from exporters import hub_keras_layer_program
from networks import randomize, tiny
from reference import relative_error

import bit_keras

# At 0.01 the loss goes up and down, and what float32 rounds grows to 5 % of a weight in the twenty
# steps; at this rate it is 6e-7, and the least that any variable changes by is 0.4 %.
LEARNING_RATE = 0.001
STEPS = 20


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(STEPS, 8, 32, 32, 3)).astype("float32")
    return images, rng.integers(0, 10, (STEPS, 8))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = randomize(tiny(kernel_regularizer=keras.regularizers.L2(1e-3)))
    path = tmp_path_factory.mktemp("exported") / "module"
    bit_keras.export_saved_model(model, path)
    return model, path


def trained_by_hub(path, data, folder, trainable):
    np.savez(folder / "batches.npz", images=data[0], labels=data[1])
    files = [folder / "batches.npz", folder / "result.npz"]
    arguments = [path, *files, str(LEARNING_RATE), str(int(trainable))]
    subprocess.run(
        [sys.executable, hub_keras_layer_program.__file__, *arguments], check=True, timeout=300
    )
    with np.load(files[1]) as result:
        return dict(result)


@pytest.mark.slow
def test_what_is_not_trainable_does_not_change(exported, data, tmp_path):
    model, path = exported
    result = trained_by_hub(path, data, tmp_path, trainable=False)
    assert result["regularization"] == 0
    for i, variable in enumerate(model.variables):
        np.testing.assert_array_equal(result[str(i)], variable.numpy())


@pytest.mark.slow
def test_twenty_steps_are_those_of_the_model(exported, data, tmp_path):
    model, path = exported
    before = model.get_weights()
    result = trained_by_hub(path, data, tmp_path, trainable=True)
    model.compile(
        keras.optimizers.SGD(LEARNING_RATE, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    for images, labels in zip(*data, strict=True):
        model.train_on_batch((images - 0.5) / 0.5, labels)
    np.testing.assert_allclose(
        result["regularization"], sum(float(loss) for loss in model.losses), rtol=1e-6
    )
    for i, (old, variable) in enumerate(zip(before, model.variables, strict=True)):
        assert relative_error(result[str(i)], variable.numpy()) < 1e-5, variable.path
        assert relative_error(old, variable.numpy()) > 1e-3, variable.path

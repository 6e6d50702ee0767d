"""What files keep of a HubLayer, and when they are read."""

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from layers import modules
from layers.classifier import classifier, data, train

import bit_keras


def in_a_new_process(program, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
def test_a_keras_file_brings_the_trained_values_back(features, tmp_path):
    path = modules.save(modules.Features(seed=0), tmp_path / "features")
    model = classifier(bit_keras.HubLayer(path, name="bit"))
    train(model)
    model.save(tmp_path / "model.keras")
    modules.save(modules.Features(seed=5), path)  # what the handle leads to has other values
    np.save(tmp_path / "images.npy", data()[0])
    program = """
        import sys
        import keras, numpy, bit_keras
        path = sys.argv[1]
        try:
            keras.models.load_model(path + "/model.keras")
        except ValueError as error:
            print(error)
        keras.config.enable_unsafe_deserialization()
        model = keras.models.load_model(path + "/model.keras")
        assert isinstance(model.get_layer("bit"), bit_keras.HubLayer)
        assert model.get_layer("bit").handle_or_path == path + "/features"
        logits = model.predict(numpy.load(path + "/images.npy"), verbose=0)
        numpy.savez(path + "/there.npz", logits, *model.get_weights(), *model.optimizer.variables)
    """
    done = in_a_new_process(program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "executable code" in done.stdout
    here = [model.predict(data()[0], verbose=0), *model.get_weights(), *model.optimizer.variables]
    with np.load(tmp_path / "there.npz") as there:
        assert len(there) == len(here)
        for a, e in zip(there.values(), here, strict=True):
            np.testing.assert_array_equal(a, e)


def test_a_weights_file_brings_the_trained_values_back(features, tmp_path):
    model, other = (classifier(bit_keras.HubLayer(features)) for _ in range(2))
    train(model)
    other.optimizer.build(other.trainable_variables)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    for a, e in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, e)


class Renamed(modules.Plain):
    def __init__(self):
        super().__init__()
        self.offset = tf.Variable(self.offset, name="offset")


class Fewer(modules.Plain):
    @tf.function(input_signature=[modules.IMAGES])
    def __call__(self, images):
        return tf.reduce_mean(images, axis=[1, 2]) @ self.kernel + self.offset


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            lambda: modules.Plain((3, 4)),
            r"'Variable' \(shape .*: \(3, 4\), in the file: \(3, 2",
        ),
        (Renamed, r"'Variable_1' \(shape in the module: missing, in the file: \(2,\)\)"),
        (Fewer, r"'count' \(shape in the module: missing, in the file: \(\)\)"),
    ],
)
def test_a_module_with_other_variables_than_were_saved_is_refused(tmp_path, module, message):
    path = modules.save(modules.Plain(), tmp_path / "module")
    keras.Sequential([keras.Input((None, None, 3)), bit_keras.HubLayer(path)]).save(
        tmp_path / "model.keras"
    )
    modules.save(module(), path)
    with pytest.raises(ValueError, match=f"(?s)not the module.*differ, such as {message}"):
        keras.models.load_model(tmp_path / "model.keras", safe_mode=False)


def test_code_is_not_loaded_from_a_file_in_safe_mode(plain, tmp_path):
    model = classifier(bit_keras.HubLayer(plain))
    model.save(tmp_path / "model.keras")
    for load in (
        lambda: keras.models.load_model(tmp_path / "model.keras"),
        lambda: keras.Model.from_config(model.get_config()),
        lambda: bit_keras.HubLayer.from_config({"handle_or_path": "/never/loaded"}),
        lambda: bit_keras.HubLayer.from_config({"handle_or_path": plain}, safe_mode=True),
    ):
        with pytest.raises(ValueError, match=r"safe_mode=False.*enable_unsafe_deserialization\(\)"):
            load()


def test_a_relative_path_is_looked_up_where_the_process_works(plain, tmp_path, monkeypatch):
    monkeypatch.chdir(os.path.dirname(plain))
    model = keras.Sequential([keras.Input((None, None, 3)), bit_keras.HubLayer("plain")])
    model.save(tmp_path / "model.keras")
    keras.models.load_model(tmp_path / "model.keras", safe_mode=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"'plain': there is no such path in {tmp_path}"):
        keras.models.load_model(tmp_path / "model.keras", safe_mode=False)


def test_a_model_around_it_is_exported_with_its_trained_values(features, tmp_path):
    model = classifier(bit_keras.HubLayer(features))
    train(model)
    model.export(tmp_path / "exported", verbose=False)
    images = data()[0]
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(exported.serve(images), model(images), rtol=1e-6, atol=1e-6)


@pytest.mark.peer
def test_other_backends_are_refused():
    program = "import bit_keras; bit_keras.HubLayer('/any')"
    done = in_a_new_process(program, KERAS_BACKEND="jax")
    assert "NotImplementedError" in done.stderr
    assert "Keras' backend is jax. Set KERAS_BACKEND=tensorflow" in done.stderr


def test_an_activity_regularizer_is_saved(features, tmp_path):
    layer = bit_keras.HubLayer(features, activity_regularizer=keras.regularizers.L2(0.1))
    again = bit_keras.HubLayer.from_config(layer.get_config())
    assert again.activity_regularizer.get_config() == layer.activity_regularizer.get_config()

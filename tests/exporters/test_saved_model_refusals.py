"""What cannot be exported is refused, and nothing is left of it."""

import keras
import numpy as np
import pytest
from networks import randomize, tiny

import bit_keras
from bit_keras.exporters import saved_model

NAMES = [f"class {letter}" for letter in "abcdefghij"]


def two_outputs():
    model = tiny()
    endpoints = {"a": model.endpoints["features"], "b": model.output}
    return bit_keras.Model(model.input, endpoints)


def two_inputs():
    inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    return bit_keras.Model(inputs, keras.layers.Add()(inputs))


def of_bytes():
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    return bit_keras.Model(inputs, tiny()(bit_keras.preprocess_input(inputs)))


def with_activity_regularizer():
    backbone = tiny(include_top=False)
    head = keras.layers.Dense(3, activity_regularizer=keras.regularizers.L2(1.0))
    return bit_keras.Model(backbone.input, head(backbone.output))


class Subclass(bit_keras.Model):
    def call(self, images):
        return images


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (tiny, {"input_range": (1, 0)}, "with the lower one first"),
        (tiny, {"input_range": 255}, "input_range=255"),
        (tiny, {"input_range": (0, float("nan"))}, "two numbers"),
        (tiny, {"class_names": ["a"]}, "1 names, but the model has 10 classes"),
        (tiny, {"class_names": ["a\nb"] * 10}, "one line"),
        (tiny, {"class_names": [""] * 10}, "empty"),
        (tiny, {"class_names": ["a\n"] * 10}, "one line"),
        (tiny, {"class_names": "abcdefghij"}, "a list of strings"),
        (of_bytes, {}, "takes uint8 images"),
        (with_activity_regularizer, {}, "activity_regularizer"),
        (tiny, {"image_size": 0}, "image_size must be an integer"),
        (tiny, {"image_size": 2.5}, "image_size must be an integer"),
        (lambda: tiny(input_shape=(32, 32, 3)), {"image_size": 48}, "only images of 32 x 32"),
        (lambda: tiny(include_top=False), {"class_names": NAMES}, "a model of features"),
        (lambda: tiny(input_shape=(None, None, 1)), {}, "expected one input of RGB images"),
        (two_outputs, {}, r"bit_keras\.Model\(model\.input, model\.output\['a'\]\)"),
        (two_inputs, {}, "inputs of shapes"),
        (Subclass, {}, "is not a functional model"),
        (lambda: "BiT-M-R50x1", {}, "'BiT-M-R50x1' is not a functional model"),
    ],
)
def test_what_cannot_be_exported(tmp_path, make, arguments, message):
    with pytest.raises(ValueError, match=message):
        bit_keras.export_saved_model(make(), tmp_path / "module", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_losses_of_activities_are_no_matter_in_serving(tmp_path):
    bit_keras.export_saved_model(with_activity_regularizer(), tmp_path / "module", freeze=True)


@pytest.mark.slow
def test_a_frozen_model_may_have_a_lambda(tmp_path):
    inputs = keras.Input((32, 32, 3))
    model = bit_keras.Model(inputs, tiny()(keras.layers.Lambda(lambda x: -x)(inputs)))
    bit_keras.export_saved_model(model, tmp_path / "module", freeze=True)


def test_an_address_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="The path is a URL"):
        bit_keras.export_saved_model(tiny(), "gs://bucket/module")
    assert not list(tmp_path.iterdir())


def test_another_backend_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"TensorFlow backend.*'jax'.*KERAS_BACKEND"):
        bit_keras.export_saved_model(None, tmp_path / "module")


@pytest.mark.slow
def test_a_model_that_gives_nan_is_refused(tmp_path):
    model = tiny()
    model.weights[0].assign(np.full(model.weights[0].shape, np.nan))
    with pytest.raises(ValueError, match="NaN or infinity"):
        bit_keras.export_saved_model(model, tmp_path / "module")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_with_other_numbers_is_not_published(tmp_path, monkeypatch):
    # Frozen kernels that are not those of the model.
    monkeypatch.setattr(saved_model, "frozen_copy", lambda _: randomize(tiny(), seed=1))
    with pytest.raises(RuntimeError, match="differs from the model"):
        bit_keras.export_saved_model(randomize(tiny()), tmp_path / "module", freeze=True)
    assert not list(tmp_path.iterdir())

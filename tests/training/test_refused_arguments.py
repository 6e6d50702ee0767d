"""Recipes refuse data, models and backends that they cannot use, before they do any work."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import quick

import bit_keras

IMAGES, LABELS = np.zeros((4, 16, 16, 3), "float32"), np.arange(4)

RECIPES = {
    "finetune": lambda model, task, path: bit_keras.finetune(model, task, output_dir=path),
    "pretrain": lambda model, task, path: bit_keras.pretrain(model, task, output_dir=path),
    "distill": lambda model, task, path: bit_keras.distill(quick, model, task, output_dir=path),
}


def evaluate(model, task, path):
    return bit_keras.evaluate(model, task)


@pytest.mark.parametrize("call", [*RECIPES.values(), evaluate], ids=[*RECIPES, "evaluate"])
@pytest.mark.parametrize(
    "task",
    [
        tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)),
        (IMAGES, LABELS),
        {"train": IMAGES},
        None,
    ],
    ids=lambda task: type(task).__name__,
)
def test_data_that_are_no_task(call, task, tmp_path):
    message = rf"The task is a {type(task).__name__}; expected a name .*model\.fit"
    with pytest.raises(TypeError, match=message):
        call(quick(), task, tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_another_backend(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    for model in ("R14x0.5", quick):
        with pytest.raises(ValueError, match=r"needs Keras' TensorFlow backend.*'jax'"):
            recipe(model, "digits", tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_what_is_no_model(recipe, tmp_path):
    with pytest.raises(TypeError, match=r"The model is a ndarray; expected a name"):
        recipe(IMAGES, "digits", tmp_path / "run")


class Unsaveable(keras.Model):
    """A model that Keras cannot save, because an argument of its class cannot be serialized."""

    def __init__(self, given):
        super().__init__()
        self.body = quick(10)
        self.given = given

    def call(self, images):
        return self.body(images)


def test_a_network_that_could_not_be_saved_is_refused_before_the_training(tmp_path):
    model = Unsaveable(lambda images: images)
    model.build((None, 16, 16, 3))
    with pytest.raises(ValueError, match=r"could not be saved after.*Define get_config"):
        bit_keras.finetune(model, "digits", output_dir=tmp_path / "run")
    assert not list(tmp_path.iterdir())

"""Every public argument that is an integer refuses bools and what is not an integer."""

import numpy as np
import pytest
from networks import tiny

import bit_keras
from bit_keras.experiments.seeds import finetune_seeds
from bit_keras.experiments.vtab import vtab
from bit_keras.exporters.timing import time_models
from bit_keras.training.recipes import RECIPES
from bit_keras.utils.integers import check_integer, distinct_integers

RULE = bit_keras.HyperRule.for_task(num_examples=100, image_size=(32, 32))


def check_groups_axis(axis):
    bit_keras.GroupNormalization(1, axis=axis).build((None, 4, 4, 8))


def set_batch_split(slices):
    tiny().batch_split = slices


def export(image_size):
    bit_keras.export_saved_model(tiny(), "never_written", image_size=image_size)


def training(call, **arguments):
    """Returns a call of a recipe with one argument, which is refused before anything is made."""
    return lambda name: (
        lambda value: call(task="digits", output_dir="never_written", **arguments, **{name: value})
    )


finetune = training(bit_keras.finetune, model="R14x0.5")
pretrain = training(bit_keras.pretrain, model="R14x0.5")
distill = training(bit_keras.distill, teacher=None, student="R14x0.5")
RUN_OPTIONS = ("seed", "eval_every", "batch_split", "save_every", "keep")

# Name of the argument: a call with that argument.
ARGUMENTS = {
    **{f"HyperRule.scaled {name}": lambda v, n=name: RULE.scaled(**{n: v})
       for name in ("steps", "batch_size", "resize", "crop")},
    "HyperRule.for_task num_examples": lambda v: bit_keras.HyperRule.for_task(v, (32, 32)),
    "HyperRule.for_task image_size": lambda v: bit_keras.HyperRule.for_task(100, (32, v)),
    **{f"Recipe.rule {name}": lambda v, n=name: RECIPES["small"].rule(100, **{n: v})
       for name in ("steps", "batch_size", "crop")},
    **{f"finetune {name}": finetune(name) for name in (*RUN_OPTIONS, "examples_per_class")},
    **{f"pretrain {name}": pretrain(name) for name in RUN_OPTIONS},
    **{f"distill {name}": distill(name) for name in RUN_OPTIONS},
    "finetune_seeds seeds": lambda v: finetune_seeds(
        "R14x0.5", "digits", seeds=[v], output_dir="never_written"),
    "fewshot shots": lambda v: bit_keras.fewshot(
        "R14x0.5", "digits", shots=[v], output_dir="never_written"),
    "fewshot seeds": lambda v: bit_keras.fewshot(
        "R14x0.5", "digits", seeds=[v], output_dir="never_written"),
    "vtab seeds": lambda v: vtab("R14x0.5", seeds=[v], output_dir="never_written"),
    **{f"cost {name}": lambda v, n=name: bit_keras.cost("BiT-M-R50x1", **{n: v})
       for name in ("classes", "resolution", "batch_size", "steps", "num_devices")},
    "ResNetV2 depths": lambda v: tiny(depths=(1, 1, 1, v)),
    "ResNetV2 classes": lambda v: tiny(classes=v),
    "ResNetV2 input_shape": lambda v: tiny(input_shape=(v, 32, 3)),
    "create classes": lambda v: bit_keras.create("BiT-M-R50x1", classes=v),
    "decode_predictions top": lambda v: bit_keras.decode_predictions(np.zeros((1, 1000)), top=v),
    "export_saved_model image_size": export,
    "time_models batch_size": lambda v: time_models([], batch_size=v),
    "time_models image_size": lambda v: time_models([], image_size=v),
    "GroupNormalization axis": check_groups_axis,
    "Model.batch_split": set_batch_split,
}  # fmt: skip


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("value", [True, np.True_, 1.5, "1", -1], ids=repr)
def test_what_is_not_a_positive_integer_is_refused(argument, value, tmp_path, monkeypatch):
    if argument == "GroupNormalization axis" and value == -1:
        return  # the last axis
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"integer|axis|expected"):
        ARGUMENTS[argument](value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8])
def test_integers_of_python_and_numpy_are_returned_as_integers_of_python(kind):
    assert type(check_integer("steps", kind(3))) is int
    assert [type(value) for value in distinct_integers("seeds", [kind(3)], 0)] == [int]


def test_the_limits_are_named():
    with pytest.raises(
        ValueError, match=r"seed must be an integer of at least 0 and below 2\*\*32"
    ):
        check_integer("seed", 2**32, least=0, bits=32)
    assert check_integer("seed", 2**32 - 1, least=0, bits=32) == 2**32 - 1
    with pytest.raises(ValueError, match=r"seeds=.*distinct integers from 0"):
        distinct_integers("seeds", [1, True], 0)


def test_a_rule_of_numpy_integers_trains_as_one_of_python_integers():
    assert RULE.scaled(steps=np.int64(10)) == RULE.scaled(steps=10)

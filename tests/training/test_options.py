"""The table of options: its checks, its flags, and that all recipes take all of it."""

import dataclasses
import inspect
import json

import numpy as np
import pytest

import bit_keras
from bit_keras.cli.flags import NUMBER, RUN_FLAGS, SWITCH, TEXT, WHOLE
from bit_keras.training.options import RunOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"seed": 2**32}, "seed must be .* below 2"),
        ({"seed": True}, "seed must be .* got True"),
        ({"seed": None}, "seed must be .* got None"),
        ({"eval_every": 0}, "eval_every must be an integer of at least 1, got 0"),
        ({"eval_every": 1.5}, "eval_every must be"),
        ({"eval_every": 1, "held_out": 0}, "held_out=0; expected a fraction"),
        ({"eval_every": 1, "held_out": 1.0}, "held_out=1.0; expected a fraction"),
        ({"eval_every": 1, "held_out": float("nan")}, "held_out=nan; expected a fraction"),
        ({"held_out": 0.1}, "held_out=0.1 was given without eval_every"),
        ({"batch_split": 0}, "batch_split must be"),
        ({"batch_split": True}, "batch_split must be"),
        ({"save_every": 0}, "save_every must be"),
        ({"keep": 0}, "keep must be"),
        ({"keep": None}, "keep must be .* got None"),
        ({"dtype": "float12"}, "dtype='float12' is not a dtype policy of Keras"),
    ],
)
def test_an_option_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RunOptions(**options)


def test_integers_of_numpy_can_be_stored_as_json():
    options = RunOptions(seed=np.int64(3), eval_every=np.int32(2), keep=np.uint8(1))
    assert json.loads(json.dumps(options.identity())) == {
        "eval_every": 2,
        "seed": 3,
    }


def test_the_held_out_fraction_is_not_compared_before_the_task_is_known():
    assert RunOptions(eval_every=2).identity() == {"eval_every": 2, "seed": 0}


@pytest.mark.parametrize("recipe", [bit_keras.finetune, bit_keras.pretrain, bit_keras.distill])
def test_every_recipe_takes_every_option_with_its_default(recipe):
    parameters = inspect.signature(recipe).parameters
    for option in dataclasses.fields(RunOptions):
        assert parameters[option.name].default == option.default, option.name


def test_every_option_but_verbose_is_a_flag():
    kinds = {name: (define, default) for define, name, default, _ in RUN_FLAGS}
    assert kinds.keys() == {option.name for option in dataclasses.fields(RunOptions)} - {"verbose"}
    assert kinds["eval_every"] == (WHOLE, None)
    assert kinds["held_out"] == (NUMBER, 0.02)
    assert kinds["strategy"] == (TEXT, "auto")
    assert kinds["overwrite"] == (SWITCH, False)

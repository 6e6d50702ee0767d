"""The recipes' numbers, and what a data set's size makes of them."""

import keras
import numpy as np
import pytest

from bit_keras.training.recipes import RECIPES, SGD

ILSVRC, IMAGENET_21K, JFT = 1_281_167, 14_197_122, 300_000_000


@pytest.mark.parametrize(
    ("name", "count", "loss", "steps", "falls"),
    [  # arXiv 1912.11370, section 3.1: 90 epochs and 30, 60, 80; of BiT-L 40 and 10, 23, 30, 37
        ("BiT-S", ILSVRC, "softmax", 28_151, (30, 60, 80)),
        ("BiT-M", IMAGENET_21K, "sigmoid", 311_948, (30, 60, 80)),
        ("BiT-L", JFT, "sigmoid", 2_929_688, (10, 23, 30, 37)),
    ],
)
def test_the_paper(name, count, loss, steps, falls):
    rule = RECIPES[name].rule(count)
    assert (rule.loss, rule.optimizer, rule.steps, rule.batch_size) == (loss, SGD, steps, 4096)
    assert (rule.warmup_steps, rule.crop, rule.weight_decay) == (5000, 224, 1e-4)
    assert (rule.mixup_alpha, rule.clip_norm) == (0, None)
    assert rule.learning_rate(5000) == pytest.approx(0.03 * 4096 / 256)
    for k, epoch in enumerate(falls):
        step = epoch * count / 4096
        before, after = rule.learning_rate(int(step) - 2), rule.learning_rate(int(step) + 3)
        assert before == pytest.approx(0.48 / 10**k)
        assert after == pytest.approx(0.048 / 10**k)


@pytest.mark.parametrize("warmup_steps", [0, 7])
@pytest.mark.parametrize("schedule", ["steps", "cosine"])
def test_the_optimizer_takes_the_rates_that_are_reported(schedule, warmup_steps):
    rule = RECIPES["BiT-S"].rule(100, steps=40, warmup_steps=warmup_steps, schedule=schedule)
    rates = [rule.learning_rate(step) for step in range(41)]
    kept = [float(rule.schedule()(step)) for step in range(41)]
    np.testing.assert_allclose(kept, rates, rtol=1e-5, atol=1e-7)
    assert rates[warmup_steps] == pytest.approx(0.48)
    if schedule == "cosine":
        assert rates[-1] == pytest.approx(0, abs=1e-9)
        middle = warmup_steps + (40 - warmup_steps) // 2
        assert 0.2 < rates[middle] < 0.28


def test_another_budget():
    rule = RECIPES["BiT-S"].rule(1000, batch_size=100, epochs=9, warmup_steps=3)
    assert (rule.steps, rule.boundaries) == (90, (30, 60, 80))
    assert rule.base_lr == pytest.approx(0.03 * 100 / 256)
    assert RECIPES["BiT-S"].rule(1000, batch_size=1, steps=6000, base_lr=1.0).base_lr == 1
    assert RECIPES["BiT-M"].rule(1000, steps=6000, loss="softmax").loss == "softmax"


def test_distillation():
    """big_vision `configs/proj/distill/bit_i1k.py`."""
    rule = RECIPES["distill"].rule(ILSVRC)
    assert (rule.loss, rule.steps, rule.batch_size) == ("kl", 375_342, 4096)
    assert (rule.base_lr, rule.mixup_alpha, rule.clip_norm) == (0.03, 1, 1)
    assert rule.boundaries == ()


def test_adam_decays_kernels_alone():
    names = ("kernel", "bias", "gamma", "beta")
    variables = [keras.Variable(np.ones(3, "float32"), name=name) for name in names]
    optimizer = RECIPES["distill"].rule(100, steps=10, warmup_steps=0).build_optimizer()
    optimizer.apply([np.zeros(3, "float32")] * 4, variables)
    kernel, *others = (variable.value.numpy() for variable in variables)
    np.testing.assert_allclose(kernel, 1 - 3e-4, rtol=1e-6)
    for other in others:
        np.testing.assert_array_equal(other, 1)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"epochs": 2, "steps": 3}, "were both given"),
        ({"epochs": 0}, "epochs must be above 0"),
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"steps": 10}, "warmup_steps must be from 0 to 9, an integer below the number of steps"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"base_lr": -1.0}, "base_lr must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be"),
        ({"crop": 0}, "crop must be"),
        ({"steps": 6000.5}, "steps must be an integer of at least 1, got 6000.5"),
        ({"steps": True}, "steps must be an integer of at least 1, got True"),
        ({"steps": 2**63}, r"steps must be below 2\*\*63"),
        ({"batch_size": 2.5}, "batch_size must be an integer of at least 1, got 2.5"),
        ({"batch_size": "2"}, "batch_size must be an integer"),
        ({"crop": 20.5}, "crop must be an integer of at least 1, got 20.5"),
        ({"warmup_steps": 0.5}, "warmup_steps must be from 0 to .*, an integer"),
        ({"warmup_steps": False}, "warmup_steps must be from 0 to .*, an integer"),
        ({"epochs": 1e30}, r"epochs must be above 0 and give fewer than 2\*\*63 steps, got 1e\+30"),
        ({"epochs": 10**400}, "epochs must be above 0"),
        ({"epochs": float("nan")}, "epochs must be above 0"),
        ({"loss": "mse"}, "loss='mse': expected 'softmax' or 'sigmoid'"),
        ({"schedule": "stairs"}, "expected 'steps' or 'cosine'"),
    ],
)
def test_bad_numbers(budget, message):
    with pytest.raises(ValueError, match=message):
        RECIPES["BiT-S"].rule(100_000_000, **budget)


def test_integers_of_numpy():
    numbers = {"steps": 50, "batch_size": 8, "crop": 32, "warmup_steps": 2}
    numpys = {name: np.int32(number) for name, number in numbers.items()}
    rule = RECIPES["BiT-S"].rule(100, **numpys)
    assert rule == RECIPES["BiT-S"].rule(100, **numbers)
    assert {type(getattr(rule, name)) for name in numbers} == {int}


def test_a_recipe_without_epochs_at_which_the_rate_falls():
    with pytest.raises(ValueError, match="names no epochs"):
        RECIPES["small"].rule(10_000, schedule="steps")

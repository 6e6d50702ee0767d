"""The BiT-HyperRule: every cell of both recipes, and its learning rate at every step."""

import dataclasses

import keras
import numpy as np
import pytest

from bit_keras.hyperrule import HyperRule, HyperRuleSchedule

RECIPES = ("paper", "official")
SMALL, LARGE = (32, 32), (224, 224)


def rule_for(num_examples=1000, image_size=SMALL, **kwargs):
    return HyperRule.for_task(num_examples=num_examples, image_size=image_size, **kwargs)


@pytest.mark.parametrize(
    ("recipe", "image_size", "model", "expected"),
    [
        ("paper", (96, 96), "BiT-M-R50x1", (448, 384)),
        ("paper", (96, 95), "BiT-M-R50x1", (160, 128)),
        ("paper", (1, 96 * 96 - 1), "BiT-M-R50x1", (160, 128)),
        ("paper", (2, 96 * 48), "BiT-M-R50x1", (448, 384)),
        ("paper", (96, 96), "BiT-M-R152x2", (448, 384)),
        ("paper", (96, 96), "BiT-M-R152x4", (512, 480)),
        ("paper", (96, 96), "BiT_L_R152x4", (512, 480)),
        ("paper", (96, 96), "bit_l_r152x4", (512, 480)),
        ("paper", (96, 96), "BiT-M-R152x4-ILSVRC2012", (512, 480)),
        ("paper", (96, 95), "BiT-M-R152x4", (160, 128)),
        ("official", (96, 96), "BiT-M-R50x1", (512, 480)),
        ("official", (96, 95), "BiT-M-R50x1", (160, 128)),
        ("official", (96, 96), "BiT-M-R152x4", (512, 480)),
        ("official", (96, 95), "BiT-M-R152x4", (160, 128)),
    ],
)
def test_resolution(recipe, image_size, model, expected):
    rule = rule_for(image_size=image_size, model=model, recipe=recipe)
    assert (rule.resize, rule.crop) == expected


@pytest.mark.parametrize(
    ("recipe", "num_examples", "steps", "boundaries", "warmup_steps", "mixup_alpha"),
    [
        ("paper", 1, 500, (150, 300, 450), 0, 0.0),
        ("paper", 19_999, 500, (150, 300, 450), 0, 0.0),
        ("paper", 20_000, 10_000, (3000, 6000, 9000), 0, 0.1),
        ("paper", 499_999, 10_000, (3000, 6000, 9000), 0, 0.1),
        ("paper", 500_000, 20_000, (6000, 12_000, 18_000), 0, 0.1),
        ("official", 1, 500, (200, 300, 400), 100, 0.0),
        ("official", 19_999, 500, (200, 300, 400), 100, 0.0),
        ("official", 20_000, 10_000, (3000, 6000, 9000), 500, 0.1),
        ("official", 499_999, 10_000, (3000, 6000, 9000), 500, 0.1),
        ("official", 500_000, 20_000, (6000, 12_000, 18_000), 500, 0.1),
    ],
)
def test_budget(recipe, num_examples, steps, boundaries, warmup_steps, mixup_alpha):
    rule = rule_for(num_examples, recipe=recipe)
    assert rule.steps == steps
    assert rule.boundaries == boundaries
    assert rule.warmup_steps == warmup_steps
    assert rule.mixup_alpha == mixup_alpha


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_every_task_shares(recipe):
    for num_examples in (1, 20_000, 500_000):
        rule = rule_for(num_examples, LARGE, recipe=recipe)
        assert (rule.base_lr, rule.momentum, rule.batch_size) == (0.003, 0.9, 512)


def test_the_paper_is_the_default_and_a_rule_is_frozen():
    rule = rule_for()
    assert rule == rule_for(recipe="paper", model="BiT-M-R50x1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.steps = 1


@pytest.mark.parametrize("num_examples", [1000, 50_000, 1_281_167])
@pytest.mark.parametrize("recipe", RECIPES)
def test_learning_rate_changes_at_the_boundaries_only(recipe, num_examples):
    rule = rule_for(num_examples, recipe=recipe)
    rates = [rule.learning_rate(step) for step in range(rule.warmup_steps, rule.steps)]
    changes = [i + rule.warmup_steps for i in range(1, len(rates)) if rates[i] != rates[i - 1]]
    assert tuple(changes) == rule.boundaries
    np.testing.assert_allclose(
        [rule.learning_rate(step) for step in (rule.warmup_steps, *rule.boundaries)],
        [3e-3, 3e-4, 3e-5, 3e-6],
        rtol=1e-12,
    )
    assert rule.learning_rate(10 * rule.steps) == rates[-1]


def test_warmup_is_linear_from_zero():
    rule = rule_for(recipe="official")
    assert rule.learning_rate(0) == 0.0
    assert rule.learning_rate(50) == pytest.approx(0.0015)
    assert rule.learning_rate(99) == pytest.approx(0.003 * 0.99)
    assert rule.learning_rate(100) == 0.003
    assert rule_for(recipe="paper").learning_rate(0) == 0.003


@pytest.mark.parametrize("recipe", RECIPES)
def test_schedule_is_the_learning_rate_at_every_step(recipe):
    rule = rule_for(recipe=recipe)
    schedule = rule.schedule()
    rates = [keras.ops.convert_to_numpy(schedule(step)) for step in range(rule.steps + 2)]
    assert {rate.dtype for rate in rates} == {np.dtype("float32")}
    expected = [rule.learning_rate(step) for step in range(rule.steps + 2)]
    np.testing.assert_allclose(rates, expected, rtol=2e-7)
    # After the warm-up each rate is the nearest float32 there is.
    np.testing.assert_array_equal(
        rates[rule.warmup_steps :], np.float32(expected[rule.warmup_steps :])
    )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function")
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_schedule_in_a_graph(recipe, dtype):
    import tensorflow as tf

    rule = rule_for(1_000_000, recipe=recipe)
    schedule = tf.function(rule.schedule(), input_signature=[tf.TensorSpec([], dtype)])
    edges = [0, 1, rule.warmup_steps, *rule.boundaries, rule.steps]
    for step in sorted({max(edge + by, 0) for edge in edges for by in (-1, 0, 1)}):
        rate = schedule(tf.cast(step, dtype)).numpy()
        np.testing.assert_allclose(rate, rule.learning_rate(step), rtol=2e-7)


@pytest.mark.parametrize("recipe", RECIPES)
def test_schedule_round_trip(recipe):
    schedule = rule_for(recipe=recipe).schedule()
    config = keras.optimizers.schedules.serialize(schedule)
    assert config["registered_name"] == "bit_keras>HyperRuleSchedule"
    again = keras.optimizers.schedules.deserialize(config)
    assert isinstance(again, HyperRuleSchedule)
    assert again.get_config() == schedule.get_config()
    optimizer = keras.optimizers.SGD(schedule)
    again = keras.optimizers.SGD.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()


def test_scaled_steps_move_boundaries_and_warmup():
    rule = rule_for(recipe="official").scaled(steps=50)
    assert (rule.steps, rule.boundaries, rule.warmup_steps) == (50, (20, 30, 40), 10)
    assert rule.base_lr == 0.003
    longer = rule_for().scaled(steps=1000)
    assert longer.boundaries == (300, 600, 900)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 7])
def test_the_shortest_runs_have_a_step_at_the_full_rate(recipe, steps):
    rule = rule_for(recipe=recipe).scaled(steps=steps)
    assert max(rule.learning_rate(step) for step in range(steps)) == 0.003


def test_scaled_batch_moves_the_rate_unless_given():
    rule = rule_for()
    assert rule.scaled(batch_size=128).base_lr == pytest.approx(0.003 / 4)
    assert rule.scaled(batch_size=128, base_lr=0.001).base_lr == 0.001
    assert rule.scaled(batch_size=128).boundaries == rule.boundaries
    assert rule.scaled() == rule


def test_scaled_resolution():
    rule = rule_for().scaled(resize=40, crop=32)
    assert (rule.resize, rule.crop) == (40, 32)
    assert rule.scaled(crop=40).crop == 40
    with pytest.raises(ValueError, match=r"crop=128 and resize=100"):
        rule_for().scaled(resize=100)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"recipe": "oficial"}, "Did you mean 'official'"),
        ({"recipe": "Paper"}, "got 'Paper'. Did you mean 'paper'"),
        ({"num_examples": 0}, "num_examples must be an integer of at least 1, got 0"),
        ({"num_examples": 2.5}, "num_examples must be an integer"),
        ({"image_size": 32}, "image_size must be two integers"),
        ({"image_size": (32, 32, 3)}, "image_size must be two integers"),
        ({"image_size": (0, 32)}, r"image_size\[0\] \(the height\)"),
        ({"image_size": (32, None)}, r"image_size\[1\] \(the width\)"),
    ],
)
def test_for_task_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        rule_for(**kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"base_lr": 0.0}, "base_lr must be above 0"),
        ({"crop": 161}, "crop must not be larger than resize"),
    ],
)
def test_scaled_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        rule_for().scaled(**kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"boundaries": (2, 1, 3)}, "boundaries must be three rising steps"),
        ({"boundaries": (1, 2)}, "boundaries must be three rising steps"),
        ({"warmup_steps": -1}, "warmup_steps must be an integer from 0 to steps"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1"),
        ({"mixup_alpha": -0.1}, "mixup_alpha must be 0"),
    ],
)
def test_a_rule_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(rule_for(), **kwargs)


def test_numpy_integers_are_integers():
    assert rule_for(np.int64(1000), (np.int32(32), np.int64(32))) == rule_for()

"""SGD with momentum against its formula, stock Keras and torch, and the coupled weight decay."""

import json
import zipfile

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras import DecayedSGD, MomentumSGD
from bit_keras.hyperrule import HyperRuleSchedule
from bit_keras.training.recipes import RECIPES

RATE, MOMENTUM, L2 = 0.1, 0.9, 0.05
RATES = [0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.001]
SCHEDULE = HyperRuleSchedule(0.1, (3, 5, 100))
GRADIENTS = np.random.default_rng(1).normal(size=(len(RATES), 2, 4)).astype("float32")
START = np.random.default_rng(2).normal(size=(2, 4)).astype("float32")


def steps(optimizer, gradients=GRADIENTS):
    """Returns a kernel and a bias after each step, `[steps, 2, 4]`."""
    variables = [keras.Variable(START[0], name="kernel"), keras.Variable(START[1], name="bias")]
    found = []
    for gradient in gradients:
        optimizer.apply(list(map(keras.ops.convert_to_tensor, gradient)), variables)
        found.append([np.array(variable.value) for variable in variables])
    return np.array(found)


def formula(gradients=GRADIENTS, momentum=MOMENTUM, l2=0.0, nesterov=False, rates=RATES):
    """The update of torch.optim.SGD in float64, with a weight decay of the kernel alone."""
    value, velocity = START.astype("float64"), np.zeros((2, 4))
    found = []
    for gradient, rate in zip(gradients, rates, strict=True):
        gradient = gradient + l2 * value * [[1], [0]]
        velocity = momentum * velocity + gradient
        value = value - rate * (gradient + momentum * velocity if nesterov else velocity)
        found.append(value)
    return np.array(found)


OPTIMIZERS = {
    "momentum": (MomentumSGD(SCHEDULE), {}),
    "nesterov": (MomentumSGD(SCHEDULE, nesterov=True), {"nesterov": True}),
    "no momentum": (MomentumSGD(SCHEDULE, momentum=0), {"momentum": 0}),
    "coupled weight decay": (DecayedSGD(SCHEDULE, l2=L2), {"l2": L2}),
    "all": (
        DecayedSGD(SCHEDULE, 0.5, L2, nesterov=True),
        {"momentum": 0.5, "l2": L2} | {"nesterov": True},
    ),
    "clipped": (MomentumSGD(SCHEDULE, clipvalue=0.5), {"gradients": GRADIENTS.clip(-0.5, 0.5)}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_formula(name):
    optimizer, arguments = OPTIMIZERS[name]
    optimizer = type(optimizer).from_config(optimizer.get_config())
    np.testing.assert_allclose(steps(optimizer), formula(**arguments), rtol=1e-5, atol=1e-6)


def test_loss_scaling_gives_the_same_steps():
    scaled = keras.optimizers.LossScaleOptimizer(MomentumSGD(SCHEDULE), initial_scale=64.0)
    np.testing.assert_allclose(steps(scaled, GRADIENTS * 64), formula(), rtol=1e-5, atol=1e-6)


def test_a_step_is_a_tenth_as_long_where_the_rate_falls_to_a_tenth():
    ones = np.ones_like(GRADIENTS)
    rates = HyperRuleSchedule(0.1, (7, 100, 100))  # the last of the 8 steps has a tenth
    for optimizer, factor in (
        (MomentumSGD(rates), 0.1 * (1 - 0.9**8) / (1 - 0.9**7)),
        # In Keras' form, most of the step is what the earlier rate has left in the velocity.
        (keras.optimizers.SGD(rates, 0.9), 0.9 + 0.1 * 0.1 / (1 - 0.9**7)),
    ):
        length = np.diff(steps(optimizer, ones), axis=0)
        np.testing.assert_allclose(length[-1] / length[-2], factor, rtol=1e-4)


def test_keras_form_is_that_of_keras():
    for nesterov in (False, True):
        arguments = {"momentum": MOMENTUM, "nesterov": nesterov}
        keras_form = MomentumSGD(SCHEDULE, rate_in_velocity=True, **arguments)
        expected = steps(keras.optimizers.SGD(SCHEDULE, **arguments))
        np.testing.assert_array_equal(steps(keras_form), expected)
        assert np.abs(steps(MomentumSGD(SCHEDULE, **arguments)) - expected).max() > 0.1


@pytest.mark.peer
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_steps_are_those_of_torch(nesterov):
    import torch

    values = [torch.tensor(value, requires_grad=True) for value in START]
    theirs = torch.optim.SGD(
        [{"params": values[:1], "weight_decay": L2}, {"params": values[1:]}],
        lr=RATE,
        momentum=MOMENTUM,
        nesterov=nesterov,
    )
    expected = []
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        for group in theirs.param_groups:
            group["lr"] = rate
        for value, slope in zip(values, gradient, strict=True):
            value.grad = torch.tensor(slope)
        theirs.step()
        expected.append([value.detach().numpy().copy() for value in values])
    ours = steps(DecayedSGD(SCHEDULE, l2=L2, nesterov=nesterov))
    np.testing.assert_allclose(ours, np.array(expected), rtol=1e-5, atol=1e-6)


def test_the_recipes_and_users_of_plain_keras_have_the_same_optimizer():
    rule = bit_keras.HyperRule.for_task(1000, (32, 32))
    optimizer = rule.optimizer()
    assert type(optimizer) is MomentumSGD
    assert not optimizer.rate_in_velocity
    assert optimizer.momentum == rule.momentum
    assert optimizer.weight_decay is None
    assert [float(optimizer._learning_rate(step)) for step in (0, 150)] == [
        pytest.approx(rule.learning_rate(step)) for step in (0, 150)
    ]
    for name in ("BiT-M", "small", "small-distill"):
        assert not RECIPES[name].rule(2_000_000, warmup_steps=0).build_optimizer().rate_in_velocity


def train(optimizer, kernel_regularizer=None):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, activation="tanh", kernel_regularizer=kernel_regularizer)(inputs)
    x = keras.layers.LayerNormalization()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, kernel_regularizer=kernel_regularizer)(x))
    # Without XLA on either side: its other order of operations is not what is compared.
    model.compile(optimizer, keras.losses.MeanSquaredError(), jit_compile=False)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 6)), rng.normal(size=(8, 3))
    history = model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0).history
    return model, history["loss"]


def test_it_is_that_of_an_l2_loss_without_its_report():
    decayed, losses = train(DecayedSGD(RATE, momentum=MOMENTUM, l2=L2))
    stock = keras.optimizers.SGD(RATE, momentum=MOMENTUM)
    regularized, larger = train(stock, keras.regularizers.L2(L2 / 2))
    for a, b in zip(decayed.weights, regularized.weights, strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=1e-4, atol=1e-6)
    assert all(one < other - 0.1 for one, other in zip(losses, larger, strict=True))
    undecayed, _ = train(DecayedSGD(RATE, momentum=MOMENTUM, l2=0.0))
    assert np.abs(decayed.weights[0].value - undecayed.weights[0].value).max() > 1e-3


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("rate_in_velocity", [False, True])
def test_its_configuration(momentum, rate_in_velocity):
    arguments = {"rate_in_velocity": rate_in_velocity, "global_clipnorm": 2.0}
    optimizer = DecayedSGD(RATE, momentum=momentum, l2=L2, **arguments)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is DecayedSGD
    assert again.get_config() == optimizer.get_config()


def test_a_keras_file_of_an_earlier_version_trains_on_with_its_update(tmp_path):
    model, _ = train(DecayedSGD(RATE, l2=L2, rate_in_velocity=True))
    model.save(tmp_path / "model.keras")
    # An earlier version did not write the entry.
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as now,
        zipfile.ZipFile(tmp_path / "earlier.keras", "w") as earlier,
    ):
        for member in now.namelist():
            content = now.read(member)
            if member == "config.json":
                config = json.loads(content)
                del config["compile_config"]["optimizer"]["config"]["rate_in_velocity"]
                content = json.dumps(config).encode()
            earlier.writestr(member, content)
    again = keras.models.load_model(tmp_path / "earlier.keras")
    x = np.random.default_rng(3).normal(size=(4, 6))
    for trained in (model, again):
        trained.optimizer.learning_rate = RATE / 10
        trained.train_on_batch(x, np.ones((4, 3)))
    for a, b in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value)

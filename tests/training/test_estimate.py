"""What a training needs is said before it, and what cannot fit is refused with what would."""

import re

import keras
import pytest
import tensorflow as tf
from networks import quick, randomize, tiny

import bit_keras
from bit_keras.costing.cost import cost
from bit_keras.training import estimate as estimates
from bit_keras.training import run
from bit_keras.training.options import RunOptions

GIB = 2**30
RULE = bit_keras.HyperRule.for_task(1000, (500, 400))  # 500 steps of 512 images at 384 pixels
ONE = tf.distribute.get_strategy()


@pytest.fixture(scope="module")
def network():
    return tiny()


@pytest.fixture
def machine(monkeypatch):
    """Returns a function that sets the memory in GiB; the speed is 10^12 FLOP/s."""
    monkeypatch.setattr(estimates, "_flops_a_second", lambda dtype: 1e12)
    return lambda gib: monkeypatch.setattr(estimates, "_machine_memory", lambda: int(gib * GIB))


def test_the_sentence_has_the_memory_and_the_time(network, machine):
    machine(1000)
    it = estimates.estimate(network, RULE, RunOptions(), ONE)
    expected = cost(network, resolution=384, batch_size=512, steps=500)
    assert it.refusal is None
    minutes = expected.flops / 0.7e12 / 60
    assert f"about {expected.peak / GIB:.1f} GiB of memory, of 1000.0 GiB here" in it.text
    assert f"about {minutes:.0f} minutes" in it.text
    assert "\n" not in it.text


@pytest.mark.parametrize("gib", [0.5, 2, 8, 16])
@pytest.mark.parametrize(
    "given", [{}, {"remat": "unit"}, {"batch_split": 4}, {"remat": "block", "batch_split": 2}]
)
def test_what_is_offered_fits_and_sees_as_many_images(network, machine, gib, given):
    machine(gib)
    options = RunOptions(**given)
    refusal = estimates.estimate(network, RULE, options, ONE).refusal
    peak = cost(network, resolution=384, batch_size=512, **given).peak
    assert (refusal is not None) == (peak > 1.2 * gib * GIB)
    if refusal is None:
        return
    offers = refusal.partition("would fit: ")[2].split("; ")
    assert len(offers) >= 1
    for offer in offers:
        flags = dict(re.findall(r"--(\w+) (\w+)", offer))
        steps = int(flags.pop("steps", RULE.steps))
        numbers = {name: int(v) if v.isdigit() else v for name, v in flags.items()}
        arguments = {"batch_size": RULE.batch_size, **given, **numbers}
        assert cost(network, resolution=384, **arguments).peak <= gib * GIB
        assert arguments["batch_size"] * steps == RULE.batch_size * RULE.steps


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    (tmp_path / "limit").write_text("1000000\n")
    (tmp_path / "none").write_text("max\n")
    files = [str(tmp_path / name) for name in ("none", "limit", "missing")]
    monkeypatch.setattr(estimates, "_CONTAINER_LIMITS", files)
    assert estimates._machine_memory() == 1_000_000


@pytest.mark.parametrize(("kind", "has_time"), [("GPU", True), ("TPU", False)])
def test_an_accelerator_has_a_memory_of_its_own(network, machine, monkeypatch, kind, has_time):
    machine(0.001)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda name: [1] * (name == kind))
    it = estimates.estimate(network, RULE, RunOptions(), ONE)
    assert it.refusal is None
    assert "on each device" in it.text
    assert ("the training takes about" in it.text) == has_time


def test_replicas_on_the_cores_of_one_machine_share_its_memory(network, machine, mirrored):
    machine(1000)
    needs = [estimates.estimate(network, RULE, RunOptions(), s).text for s in (ONE, mirrored)]
    memory = [float(re.search(r"about (\S+) GiB", text)[1]) for text in needs]
    assert memory[0] <= memory[1] < 1.05 * memory[0]


def frozen(network):
    network.freeze("block4")
    return network


@pytest.mark.parametrize(
    "make",
    [
        quick,
        lambda: tiny(dtype="float64"),
        lambda: tiny(normalization="batch"),
        lambda: frozen(tiny()),
        lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]),
    ],
)
def test_a_network_of_unknown_cost_has_no_estimate(make):
    assert estimates.estimate(make(), RULE, RunOptions(), ONE) is None


def test_a_run_that_cannot_fit_is_refused_before_it_writes(network, machine, tmp_path):
    machine(0.01)
    with pytest.raises(ValueError, match=r"cannot fit.*GiB.*smaller network"):
        bit_keras.finetune(network, "digits", output_dir=tmp_path / "run", verbose=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_drawing")
def test_a_run_says_what_it_needs_and_a_finished_one_is_opened(tmp_path, capsys, monkeypatch):
    needs = estimates.Estimate("A step needs about 2.0 GiB.", None)
    monkeypatch.setattr(run, "estimate", lambda *_: needs)
    budget = {"steps": 1, "batch_size": 4}
    arguments = {"budget": budget, "output_dir": tmp_path / "run"}
    result = bit_keras.finetune(randomize(quick()), "digits", **arguments)
    assert "\nA step needs about 2.0 GiB.\n" in capsys.readouterr().out
    # A finished run, or one with a saved state, is not refused, whatever was computed.
    needs = estimates.Estimate("A step needs about 2.0 GiB.", "The training cannot fit.")
    again = bit_keras.finetune(randomize(quick()), "digits", **arguments)
    assert again.metrics == result.metrics
    assert "finished: nothing to do" in capsys.readouterr().out
    with pytest.raises(ValueError, match="cannot fit"):
        bit_keras.finetune(randomize(quick()), "digits", **arguments, overwrite=True)
    assert (tmp_path / "run" / "metrics.json").exists()

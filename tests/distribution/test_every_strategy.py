"""Twenty steps give the weights of one process under every strategy, with all that may be asked."""

import functools

import distributed_program as program
import numpy as np
import pytest

EXACT = 1e-5  # of the largest value
CASES = tuple(program.CASES)
# Of several processes, which start slowly: those with the most in them. Their predict cannot gather
# bfloat16 outputs, as TensorFlow has no such operation.
OF_WORKERS = ("rest", "all")
OF_TWO_REPLICAS = ("slices", "all", "bfloat16")


@functools.cache
def expected(case):
    """In one process, with the whole batch at once."""
    return program.everything(program.CASES[case].model(slices=1))


def assert_same(found, case):
    wanted, tolerance = expected(case), program.CASES[case].tolerance
    assert found.keys() == wanted.keys()
    for state in (" after fit", " after train_on_batch"):
        # The largest difference of all weights, of the largest weight.
        names = [name for name in wanted if name.endswith(state)]
        largest = max(np.abs(wanted[name]).max() for name in names)
        assert max(np.abs(found[name] - wanted[name]).max() for name in names) < tolerance * largest
    if tolerance > EXACT:  # what bfloat16 rounds turns a class now and then
        return
    for name, value in wanted.items():
        np.testing.assert_allclose(
            found[name], value, rtol=0, atol=EXACT * np.abs(value).max(), err_msg=name
        )
    # Before the weights differ by anything: 37 samples in batches of 8 on any number of replicas.
    (loss, *metrics), (wanted_loss, *wanted_metrics) = found["untrained"], wanted["untrained"]
    assert loss == pytest.approx(wanted_loss, rel=1e-6)
    assert [37 * metric for metric in metrics] == [37 * metric for metric in wanted_metrics]


@pytest.mark.slow
@pytest.mark.parametrize("case", OF_TWO_REPLICAS)
def test_two_replicas(case, mirrored):
    with mirrored.scope():
        model = program.CASES[case].model()
    assert_same(program.everything(model), case)


@pytest.mark.slow
def test_four_replicas(tmp_path):
    output = tmp_path / "found.npz"
    status = program.finish([program.start("4", "cases", ",".join(CASES), 20, output)], timeout=900)
    assert status == [0], output.with_suffix(".log").read_text()
    assert_all_same(np.load(output), CASES)


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3])
def test_workers(number, tmp_path):
    cases = ",".join(OF_WORKERS)
    for status, log, output in program.run_workers(number, "cases", cases, tmp_path, timeout=900):
        assert status == 0, log
        assert_all_same(np.load(output), OF_WORKERS)


def assert_all_same(found, cases):
    for case in cases:
        mine = [name for name in found if name.startswith(f"{case}/")]
        assert_same({name.removeprefix(f"{case}/"): found[name] for name in mine}, case)

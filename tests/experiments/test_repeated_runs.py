"""The summary over seeds, compared with numpy."""

import numpy as np
import pytest

from bit_keras.experiments.repeated_runs import summarize


def test_the_summary_is_the_median_and_the_sample_deviation():
    values = [0.75, 0.9871, 0.31, 0.62]
    summary = summarize(values)
    assert summary.median == pytest.approx(np.median(values))
    assert summary.std == pytest.approx(np.std(values, ddof=1))
    assert summary.count == 4


def test_a_single_value_has_no_spread():
    assert summarize([0.5]).percent() == "50.00 (n=1)"

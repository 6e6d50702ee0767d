"""The means, the score and the picture of a VTAB-1k study."""

import numpy as np
import pytest
from PIL import Image

from bit_keras.data.vtab import GROUPS, TASKS
from bit_keras.experiments import vtab_report
from bit_keras.experiments.vtab_report import plot_vtab


def test_means_and_score():
    rng = np.random.default_rng(0)
    accuracies = {key: rng.uniform() for key in TASKS}
    for group in GROUPS:
        inside = [accuracies[key] for key, row in TASKS.items() if row.group == group]
        assert vtab_report.mean(accuracies, group) == pytest.approx(np.mean(inside))
    score = np.mean(list(accuracies.values()))
    assert vtab_report.mean(accuracies, vtab_report.SCORE) == pytest.approx(score)
    for key, row in TASKS.items():
        others = {other: value for other, value in accuracies.items() if other != key}
        assert vtab_report.mean(others, vtab_report.SCORE) is None
        assert vtab_report.mean(others, row.group) is None


def test_the_score_is_the_median_over_the_seeds_that_have_all():
    full = {seed: dict.fromkeys(TASKS, value) for seed, value in enumerate((0.5, 0.9, 0.6))}
    assert vtab_report.mean_text(full, "score") == "60.00 ± 20.82 (n=3)"
    assert vtab_report.mean_text({0: full[0]}, "score") == "50.00 (n=1)"
    del full[1]["dmlab"]
    assert vtab_report.mean_text(full, "score") == "55.00 ± 7.07 (n=2); seed 1: 18 of 19 run"
    assert vtab_report.mean_text(full, "natural") == "60.00 ± 20.82 (n=3)"
    assert vtab_report.mean_text({1: full[1]}, "structured") == "7 of 8 run"
    assert vtab_report.mean_text({}, "score") == "not run"


def test_the_picture_grows_with_the_number_of_tasks(tmp_path):
    results = {seed: dict.fromkeys(TASKS, 0.5 + 0.1 * seed) for seed in (0, 1)}
    plot_vtab(results, "a title with $ and <", tmp_path / "all.png")
    plot_vtab({0: {"dmlab": 1.0}}, "one", tmp_path / "one.png")
    with Image.open(tmp_path / "all.png") as large, Image.open(tmp_path / "one.png") as small:
        assert large.height > 2 * small.height
        assert np.asarray(large).std() > 10

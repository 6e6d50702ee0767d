"""The few-shot curve as a picture."""

import matplotlib.image
import numpy as np

from bit_keras.experiments import fewshot_report


def test_the_picture_has_a_tick_at_each_shots_and_a_point_for_each_seed(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(fewshot_report, "save_figure", lambda figure, _: seen.append(figure))
    accuracies = {1: [0.2, 0.3, 0.9], 5: [0.5, 0.6, 0.7], 25: [0.8, 0.8, 0.9]}
    fewshot_report.plot_fewshot(accuracies, 4, "a title", tmp_path / "x.png")
    (axes,) = seen[0].axes
    assert axes.get_xscale() == "log"
    assert axes.get_title() == "a title"
    assert [(t.get_text(), t.get_position()[0]) for t in axes.get_xticklabels()] == [
        ("1", 1),
        ("5", 5),
        ("25", 25),
    ]
    assert not axes.get_xticklabels(minor=True)
    (points,) = axes.collections
    expected = [[count, 100 * value] for count in accuracies for value in accuracies[count]]
    np.testing.assert_allclose(points.get_offsets(), expected)
    medians, chance = axes.lines
    np.testing.assert_allclose(medians.get_ydata(), [30, 60, 80])
    np.testing.assert_allclose(chance.get_ydata(), 25)


def test_the_picture_is_a_png_of_legible_size(tmp_path):
    fewshot_report.plot_fewshot({1: [0.2, 0.3], 2: [0.5, 0.6]}, 3, "a title", tmp_path / "x.png")
    assert min(matplotlib.image.imread(tmp_path / "x.png").shape[:2]) > 400

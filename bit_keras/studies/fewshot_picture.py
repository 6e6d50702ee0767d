"""The few-shot curve as a picture, like figure 2 of the paper."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bit_keras.evaluation.figure_file import save_figure


def plot_fewshot(
    accuracies: Mapping[int, Sequence[float]], num_classes: int, title: str, path: Path
) -> None:
    """Saves the test accuracy over the examples of each class as a PNG.

    A point for each seed, a line through the medians, and what guessing would give.

    Args:
        accuracies: by examples per class, from 0 to 1, one for each seed.
        num_classes: of the task.
        title: of the picture.
        path: of the PNG.
    """
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, parse_math=False, wrap=True, fontsize=11)
    shots = sorted(accuracies)
    points = [(count, 100 * value) for count in shots for value in accuracies[count]]
    axes.scatter(*zip(*points, strict=True), color="tab:blue", alpha=0.5, label="one seed")
    medians = [100 * statistics.median(accuracies[count]) for count in shots]
    axes.plot(shots, medians, color="tab:blue", marker="_", ms=14, label="median over the seeds")
    chance = 100 / num_classes
    axes.axhline(chance, color="tab:gray", ls="--", label=f"chance: {chance:.3g} %")
    axes.set(xscale="log", xlabel="examples per class", ylabel="test accuracy (%)", ylim=(0, 103))
    axes.set_xticks(shots, map(str, shots))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    save_figure(figure, path)

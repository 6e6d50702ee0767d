"""The metrics, the table and the picture that a few-shot study writes."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bit_keras.evaluation.plots import save_figure, without_losing_results
from bit_keras.experiments.repeated_runs import summarize
from bit_keras.training.preparation import RANDOM
from bit_keras.utils.text_file import write_text
from bit_keras.utils.text_table import TextTable

PICTURE, TABLE = "fewshot.png", "fewshot.md"


def numbers_of(accuracies: Mapping[int, Sequence[float]]) -> dict:
    """Returns the medians and standard deviations of a few-shot study for its metrics.json.

    Args:
        accuracies: lists from 0 to 1, one for each seed, by examples per class, rising.

    Returns:
        `test_accuracy`, the median at the most examples per class, and `table`, with a row for
        each number of them: `examples_per_class`, `test_accuracies`, `median`, `std` (None for a
        single seed) and `n`.
    """
    table = [
        {
            "examples_per_class": count,
            "test_accuracies": list(values),
            **summarize(values).entries(),
        }
        for count, values in accuracies.items()
    ]
    return {"test_accuracy": table[-1]["median"], "table": table}


def accuracies_of(metrics: dict) -> dict[int, list[float]]:
    """Maps each number of examples per class to its test accuracies, read from metrics.json."""
    return {row["examples_per_class"]: row["test_accuracies"] for row in metrics["table"]}


def table_of(metrics: dict) -> TextTable:
    """Returns a table of a few-shot study's accuracies, in percent, from its metrics.json."""
    return TextTable(
        f"{title_of(metrics['configuration'])}: test accuracy (%)",
        (
            "examples per class",
            "median ± std",
            *(f"seed {seed}" for seed in metrics["configuration"]["seeds"]),
        ),
        tuple(
            (str(count), summarize(values).percent(), *(f"{100 * value:.2f}" for value in values))
            for count, values in accuracies_of(metrics).items()
        ),
    )


def title_of(configuration: dict) -> str:
    """Returns the title of a study, such as "BiT-M-R50x1 on cifar10, fine-tuning"."""
    random = " with random weights" if configuration["weights"] == RANDOM else ""
    return f"{configuration['model']}{random} on {configuration['task']}, {configuration['method']}"


def write_record(metrics: dict, num_classes: int, directory: Path) -> None:
    """Writes the table and the picture of a few-shot study.

    Args:
        metrics: the content of metrics.json.
        num_classes: the number of classes of the task.
        directory: the directory of the study.
    """
    write_text(directory / TABLE, table_of(metrics).markdown())
    title = title_of(metrics["configuration"])
    with without_losing_results(directory / PICTURE) as picture:
        plot_fewshot(accuracies_of(metrics), num_classes, title, picture)


def plot_fewshot(
    accuracies: Mapping[int, Sequence[float]], num_classes: int, title: str, path: Path
) -> None:
    """Saves a plot of the test accuracy over the number of examples per class as a PNG.

    The picture has a point for each seed, a line through the medians, and a line at the accuracy
    of guessing.

    Args:
        accuracies: lists from 0 to 1, one for each seed, by examples per class.
        num_classes: the number of classes of the task.
        title: the title of the picture.
        path: the PNG file.
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

"""What a few-shot study says: its numbers, its table and its picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bit_keras.atomic_file import written_whole
from bit_keras.studies.fewshot_picture import plot_fewshot
from bit_keras.studies.summary import summarize
from bit_keras.studies.text_table import TextTable

PICTURE, TABLE = "fewshot.png", "fewshot.md"


def numbers_of(accuracies: Mapping[int, Sequence[float]]) -> dict:
    """Returns what metrics.json says of accuracies.

    Args:
        accuracies: by examples per class, rising, from 0 to 1, one for each seed.

    Returns:
        `test_accuracy`, the median at the most examples per class, and `table`, with a row for
        each number of them: `examples_per_class`, `test_accuracies`, `median`, `std` (None for a
        single seed) and `n`.
    """
    summaries = {count: summarize(values) for count, values in accuracies.items()}
    table = [
        {
            "examples_per_class": count,
            "test_accuracies": list(accuracies[count]),
            "median": summary.median,
            "std": summary.std,
            "n": summary.count,
        }
        for count, summary in summaries.items()
    ]
    return {"test_accuracy": table[-1]["median"], "table": table}


def accuracies_of(metrics: dict) -> dict[int, list[float]]:
    """Returns the accuracies that `numbers_of` got, from the content of metrics.json."""
    return {row["examples_per_class"]: row["test_accuracies"] for row in metrics["table"]}


def table_of(metrics: dict) -> TextTable:
    """Returns the accuracies, in percent, of the content of metrics.json."""
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
    """Returns what was done, such as "BiT-M-R50x1 on cifar10, fine-tuning"."""
    random = " with random weights" if configuration["weights"] == "random" else ""
    return f"{configuration['model']}{random} on {configuration['task']}, {configuration['method']}"


def write_record(metrics: dict, num_classes: int, directory: Path) -> None:
    """Writes the table and the picture of a study.

    Args:
        metrics: the content of its metrics.json.
        num_classes: of its task.
        directory: of the study.
    """
    with written_whole(directory / TABLE) as temporary:
        temporary.write_text(table_of(metrics).markdown(), "utf-8")
    title = title_of(metrics["configuration"])
    plot_fewshot(accuracies_of(metrics), num_classes, title, directory / PICTURE)

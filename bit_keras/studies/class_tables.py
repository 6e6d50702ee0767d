"""What an evaluation says of each class: a CSV file of all, and the worst on a terminal."""

import csv
from pathlib import Path

import numpy as np

from bit_keras.atomic_file import written_whole
from bit_keras.data.tasks import Task
from bit_keras.evaluation.accuracy import Predictions
from bit_keras.evaluation.confusion import most_frequent_confusions
from bit_keras.studies.text_table import TextTable

_LISTED = 5  # worst classes, and confusions, on a terminal


def write_classes(predictions: Predictions, task: Task, path: Path) -> None:
    """Writes a CSV file: class, its test images, how many are right, accuracy (0 to 1).

    Args:
        predictions: of the whole test split.
        task: whose classes they are.
        path: of the CSV file; the accuracy of a class without test images stays empty.
    """
    with (
        written_whole(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        rows = csv.writer(file)
        rows.writerow(["class", "num_test_examples", "num_right", "accuracy"])
        for name, total, right in zip(
            task.class_names, *predictions.per_class_counts(), strict=True
        ):
            rows.writerow([name, total, right, right / total if total else ""])


def print_summary(predictions: Predictions, task: Task) -> None:
    """Prints the accuracies, the classes with the lowest one, and the most frequent confusions."""
    metrics = predictions.metrics()
    top5 = metrics["test_top5_accuracy"]
    print(
        f"Test accuracy {metrics['test_accuracy']:.2%} of all {metrics['num_test_examples']} test "
        f"images{f', top-5 {top5:.2%}' if top5 is not None else ''}."
    )
    TextTable(
        "Classes with the lowest accuracy",
        ("class", "right", "test images", "accuracy"),
        _worst_classes(predictions, task),
    ).print()
    confusions = most_frequent_confusions(predictions, _LISTED)
    if confusions:
        TextTable(
            "Most frequent confusions",
            ("true class", "prediction", "test images"),
            tuple(
                (task.class_names[c.truth], task.class_names[c.predicted], str(c.count))
                for c in confusions
            ),
        ).print()


def _worst_classes(predictions: Predictions, task: Task) -> tuple[tuple[str, ...], ...]:
    accuracies = predictions.per_class_accuracy()
    totals, rights = predictions.per_class_counts()
    # nan, of classes without test images, is sorted to the end.
    worst = np.argsort(accuracies, kind="stable")[: min(_LISTED, np.count_nonzero(totals))]
    return tuple(
        (task.class_names[k], str(rights[k]), str(totals[k]), f"{accuracies[k]:.1%}") for k in worst
    )

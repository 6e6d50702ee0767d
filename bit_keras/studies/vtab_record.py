"""What a study on VTAB-1k leaves: its numbers, its table and its picture."""

import dataclasses
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bit_keras.atomic_file import written_whole
from bit_keras.data.vtab import GROUPS
from bit_keras.studies.text_table import TextTable, escape
from bit_keras.studies.vtab_picture import plot_vtab
from bit_keras.studies.vtab_score import SCORE, Results, mean, mean_text, vtab_table
from bit_keras.training import run_directory

PICTURE, TABLE = "vtab.png", "vtab.md"


@dataclass(frozen=True)
class Failure:
    """A run that could not be made.

    Attributes:
        task: a key of `bit_keras.data.vtab.TASKS`.
        seed: of the run.
        error: its type and its message.
        traceback: for whoever looks for a fault of the program.
    """

    task: str
    seed: int
    error: str
    traceback: str

    def __str__(self) -> str:
        return f"{self.task}, seed {self.seed}: {self.error}"

    def in_short(self) -> str:
        """Returns the first line."""
        return str(self).splitlines()[0]


def metrics_of(
    results: Results, failures: Sequence[Failure], configuration: dict[str, Any]
) -> dict[str, Any]:
    """Returns the content of metrics.json.

    Args:
        results: test accuracies, 0 to 1, by seed and by task.
        failures: what is missing in them.
        configuration: what the study was asked for.
    """
    scores = {seed: mean(accuracies, SCORE) for seed, accuracies in results.items()}
    complete = [score for score in scores.values() if score is not None]
    return run_directory.plain(
        {
            "test_accuracy": statistics.median(complete) if complete else None,
            "scores": scores,
            "groups": {
                group: {seed: mean(accuracies, group) for seed, accuracies in results.items()}
                for group in GROUPS
            },
            "tasks": results,
            "failures": [dataclasses.asdict(failure) for failure in failures],
            "seed": list(results),
            "configuration": configuration,
            "versions": run_directory.versions(),
        }
    )


def write_record(
    results: Results, failures: Sequence[Failure], keys: Collection[str], metrics: dict, path: Path
) -> TextTable:
    """Writes the table, the picture and last the metrics of a study; returns the table.

    Args:
        results: test accuracies, 0 to 1, by seed and by task.
        failures: what is missing in them.
        keys: the tasks that were asked for.
        metrics: `metrics_of` these.
        path: the study's directory.
    """
    asked = metrics["configuration"]
    title = f"{asked['model']}, {asked['weights']} weights, {asked['recipe']} recipe"
    failed = {failure.task for failure in failures}
    table = vtab_table({"median ± std over the seeds (n)": results}, keys, failed)
    lines = [f"* {escape(str(failure))}" for failure in failures]
    with written_whole(path / TABLE) as temporary:
        text = "\n".join([f"# {escape(title)}", "", table.markdown(), *lines, ""])
        temporary.write_text(text, "utf-8")
    if any(results.values()):
        plot_vtab(results, f"VTAB-1k: {title}", path / PICTURE)
    run_directory.write_json(path / run_directory.METRICS, metrics)
    return table


def verdict(results: Results) -> str:
    """Returns the score in words, or that there is none."""
    has_score = any(mean(accuracies, SCORE) is not None for accuracies in results.values())
    return f"{'Score' if has_score else 'No score'}: {mean_text(results, SCORE)}."

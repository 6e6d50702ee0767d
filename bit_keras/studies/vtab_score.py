"""What the accuracies on VTAB-1k come to: means of the three groups, and the score over all 19."""

import statistics
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from bit_keras.data.vtab import GROUPS, TASKS
from bit_keras.studies.summary import summarize
from bit_keras.studies.text_table import TextTable

# Test accuracies, 0 to 1, by seed and by key of `TASKS`.
Results = Mapping[int, Mapping[str, float]]

SCORE = "score"

# What is averaged: each group, and all of them.
MEANS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **{group: tuple(k for k, row in TASKS.items() if row.group == group) for group in GROUPS},
        SCORE: tuple(TASKS),
    }
)


def mean(accuracies: Mapping[str, float], name: str) -> float | None:
    """Returns the mean of one of `MEANS`, 0 to 1; None unless every task of it is there."""
    keys = MEANS[name]
    if not accuracies.keys() >= set(keys):
        return None
    return statistics.fmean(accuracies[key] for key in keys)


def mean_text(results: Results, name: str) -> str:
    """Returns median and spread, over the seeds, of one of `MEANS`; or how much of it is there.

    A seed counts only where each of its tasks is there.
    """
    keys = MEANS[name]
    means = {seed: mean(accuracies, name) for seed, accuracies in results.items()}
    complete = [value for value in means.values() if value is not None]
    parts = [summarize(complete).percent()] if complete else []
    for seed in (seed for seed, value in means.items() if value is None):
        count = len(results[seed].keys() & set(keys))
        prefix = "" if len(results) == 1 else f"seed {seed}: "
        parts.append(f"{prefix}{count} of {len(keys)} run")
    return "; ".join(parts) or "not run"


def vtab_table(
    columns: Mapping[str, Results], keys: Iterable[str], failed: Collection[str] = ()
) -> TextTable:
    """Returns the accuracies of some tasks by group, the means of the groups, and the score.

    Args:
        columns: results, by the name of their column.
        keys: the tasks that have a row.
        failed: those that failed with every seed.
    """
    keys, rows = set(keys), []
    for group in GROUPS:
        shown = [key for key in MEANS[group] if key in keys]
        absent = {key: "failed" if key in failed else "not run" for key in shown}
        rows += [
            (group, key, *(_text(results, key) or absent[key] for results in columns.values()))
            for key in shown
        ]
        if shown:
            rows.append(_mean_row(columns, group, f"mean of {len(MEANS[group])}"))
    rows.append(_mean_row(columns, SCORE, f"mean of all {len(TASKS)}"))
    return TextTable("VTAB-1k, test accuracy in %", ("group", "task", *columns), tuple(rows))


def _text(results: Results, key: str) -> str:
    values = [accuracies[key] for accuracies in results.values() if key in accuracies]
    return summarize(values).percent() if values else ""


def _mean_row(columns: Mapping[str, Results], name: str, title: str) -> tuple[str, ...]:
    return (name, title, *(mean_text(results, name) for results in columns.values()))

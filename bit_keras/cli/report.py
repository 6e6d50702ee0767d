"""`bit-keras report`: shows the results of finished runs beside those of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bit_keras.cli.flags import TEXT, Command

if TYPE_CHECKING:
    from bit_keras.experiments.report import Report

# A table in the terminal has at most 4 columns of results; further columns go into further tables.
_ACROSS = 4


def _run(values: flags.FlagValues, *runs: str) -> None:
    from bit_keras.experiments.report import MARKDOWN, PAGE, report

    print_report(report(runs, values.output_dir))
    directory = Path(values.output_dir).expanduser()
    print(f"Written to {directory / MARKDOWN} and {directory / PAGE}.")


def print_report(content: Report) -> None:
    """Prints the tables of a report of finished runs."""
    from bit_keras.experiments.report import SOURCE
    from bit_keras.experiments.report_tables import paper_table

    for start in range(0, max(1, len(content.columns)), _ACROSS):
        part = slice(start, start + _ACROSS)
        paper_table(content.columns[part], content.names[part]).print()
    print(*content.legend(), SOURCE, "", sep="\n")
    for table in content.more_tables():
        table.print()


COMMAND = Command(
    "Show finished runs beside the paper's figures, as Markdown and as one HTML page.",
    ((TEXT, "output_dir", "report", "directory of report.md and report.html"),),
    _run,
    ("RUNS...",),
    required=1,
)

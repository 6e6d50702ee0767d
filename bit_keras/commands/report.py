"""`bit-keras report`."""

from absl import flags

from bit_keras.commands.command import TEXT, Command


def _run(values: flags.FlagValues, *runs: str) -> None:
    from bit_keras.studies.report import report

    report(runs, values.output_dir)


COMMAND = Command(
    "Put finished runs beside the paper's figures, as Markdown and as one HTML page.",
    ((TEXT, "output_dir", "report", "where report.md and report.html are written"),),
    _run,
    ("RUNS...",),
    required=1,
)

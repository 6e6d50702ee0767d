"""Writes a report of finished runs beside the paper's accuracies, as Markdown and HTML."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2

from bit_keras.experiments import report_pictures, report_tables
from bit_keras.experiments.report_columns import Column, columns, without_repeated
from bit_keras.runs import run_directory
from bit_keras.runs.found_runs import FoundRun, LeftOut, find_runs
from bit_keras.utils.text_file import write_text
from bit_keras.utils.text_table import TextTable, escape

MARKDOWN, PAGE = "report.md", "report.html"

_TITLE = "Big Transfer: runs beside the paper"

SOURCE = (
    "BiT-L, BiT-M and BiT-S are R152x4; their figures, and the state of the art (SOTA) of the "
    "time, are from tables 1 and 2 of arXiv 1912.11370. BiT-L: median ± std of 3 runs. VTAB is the "
    "mean over its 19 tasks with 1000 training images each; a seed counts if it has all of them."
)


@dataclass(frozen=True)
class Report:
    """The content of a report: fine-tuning runs, other runs, and directories that are left out.

    Attributes:
        columns: the runs that are shown in the paper's table.
        names: the heading of each column.
        others: the runs that are not shown in the paper's table.
        runs: all runs that count.
        left_out: the directories that do not count.
    """

    columns: list[Column]
    names: list[str]
    others: list[FoundRun]
    runs: list[FoundRun]
    left_out: list[LeftOut]

    def legend(self) -> list[str]:
        """Returns a line for each column of the report's table: what its runs have in common."""
        pairs = zip(self.names, self.columns, strict=True)
        return [f"{name}: {column.title}" for name, column in pairs]

    def more_tables(self) -> list[TextTable]:
        """Returns the non-empty tables that stand below the paper's table in the report."""
        tables = (
            report_tables.vtab_details(self.columns, self.names),
            report_tables.others_table(self.others),
            report_tables.left_out_table(self.left_out),
            report_tables.versions_table(self.runs),
        )
        return [table for table in tables if table is not None]


def report(paths: Sequence[str | os.PathLike], output_dir: str | os.PathLike = "report") -> Report:
    """Writes tables and pictures of finished runs to report.md and report.html.

    The same runs give the same files.

    Args:
        paths: directories of runs, or directories that hold such directories at any depth.
        output_dir: where both files are written; created if it does not exist.

    Raises:
        OSError: a path is no directory, or `output_dir` cannot be written.
        ValueError: there is no finished run in the directories.
    """
    found, left_out = find_runs(paths)
    found, not_showable = _showable(found)
    left_out += not_showable
    if not found:
        reasons = "".join(f" {one.path}: {one.reason}." for one in left_out)
        raise ValueError(
            f"There is no finished run in {', '.join(map(str, paths))}. Give directories that "
            f"bit-keras finetune has written.{reasons}"
        )
    content = _content(found, left_out)
    directory = Path(output_dir).expanduser()
    run_directory.check_writable(directory)
    for name, text in ((MARKDOWN, _markdown(content)), (PAGE, _page(content))):
        write_text(directory / name, text)
    return content


def _showable(runs: Sequence[FoundRun]) -> tuple[list[FoundRun], list[LeftOut]]:
    """Returns the runs that a report can show, and the others with the reason why it cannot.

    A record that was changed by hand, or by another version, may hold values of any kind.
    """
    showable, left_out = [], []
    for run in runs:
        try:
            _markdown(_content([run], []))
            report_pictures.pictures_of_runs([run])
            showable.append(run)
        except Exception as error:
            reason = f"its record cannot be shown ({type(error).__name__}: {error})"
            left_out.append(LeftOut(run.path, reason))
    return showable, left_out


def _content(found: list[FoundRun], left_out: list[LeftOut]) -> Report:
    runs, repeated = without_repeated(found)
    of_paper = [run for run in runs if report_tables.is_of_paper(run)]
    others = [run for run in runs if not report_tables.is_of_paper(run)]
    side_by_side = columns(of_paper)
    count = len(side_by_side)
    names = ["this run"] if count == 1 else [f"run {place + 1}" for place in range(count)]
    return Report(side_by_side, names, others, runs, left_out + repeated)


def _markdown(content: Report) -> str:
    table = report_tables.paper_table(content.columns, content.names)
    legend = [f"* {escape(line)}" for line in (*content.legend(), SOURCE)]
    more = [table.markdown() for table in content.more_tables()]
    return "\n".join([f"# {_TITLE}", "", table.markdown(), *legend, "", *more])


def _page(content: Report) -> str:
    pictures = [
        *report_pictures.pictures_of_vtab(content.columns, content.names),
        *report_pictures.pictures_of_runs(content.runs),
    ]
    # Names of tasks and directories may contain characters of HTML, so jinja2 escapes all of them.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files(__package__).joinpath("report.html.jinja").read_text("utf-8")
    return environment.from_string(source).render(
        title=_TITLE,
        table=report_tables.paper_table(content.columns, content.names),
        legend=content.legend(),
        source=SOURCE,
        more=content.more_tables(),
        studies=[picture for picture in pictures if picture.is_study],
        pictures=[picture for picture in pictures if not picture.is_study],
    )

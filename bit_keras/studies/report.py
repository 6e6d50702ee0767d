"""The report: finished runs beside the paper's figures, as Markdown and as one HTML page."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2

from bit_keras.atomic_file import written_whole
from bit_keras.studies import report_pictures, report_tables
from bit_keras.studies.columns import Column, columns, without_repeated
from bit_keras.studies.found_runs import FoundRun, LeftOut, find_runs
from bit_keras.studies.text_table import TextTable, escape
from bit_keras.training import run_directory

MARKDOWN, PAGE = "report.md", "report.html"

_TITLE = "Big Transfer: runs beside the paper"
_SOURCE = (
    "BiT-L, BiT-M and BiT-S are R152x4; their figures, and the state of the art (SOTA) of the "
    "time, are from tables 1 and 2 of arXiv 1912.11370. BiT-L: median ± std of 3 runs. VTAB is the "
    "mean over its 19 tasks with 1000 training images each; a seed counts if it has all of them."
)

# So many columns of runs stand side by side on a terminal.
_ACROSS = 4


@dataclass(frozen=True)
class _Content:
    columns: list[Column]
    names: list[str]
    others: list[FoundRun]
    runs: list[FoundRun]
    left_out: list[LeftOut]

    def legend(self) -> list[str]:
        """Returns what the columns of runs are."""
        pairs = zip(self.names, self.columns, strict=True)
        return [f"{name}: {column.title}" for name, column in pairs]

    def more_tables(self) -> list[TextTable]:
        """Returns the tables after the paper's, as far as there is anything in them."""
        tables = (
            report_tables.vtab_details(self.columns, self.names),
            report_tables.others_table(self.others),
            report_tables.left_out_table(self.left_out),
            report_tables.versions_table(self.runs),
        )
        return [table for table in tables if table is not None]


def report(paths: Sequence[str | os.PathLike], output_dir: str | os.PathLike = "report") -> None:
    """Gathers finished runs into report.md and report.html, and prints the tables.

    The same runs give the same files.

    Args:
        paths: directories of runs, or directories that hold such at any depth.
        output_dir: where both files are written; made if need be.

    Raises:
        OSError: a path is no directory, or `output_dir` cannot be written.
        ValueError: no finished run is there.
    """
    found, left_out = find_runs(paths)
    if not found:
        raise ValueError(
            f"There is no finished run in {', '.join(map(str, paths))}: expected directories that "
            f"bit-keras finetune wrote.{''.join(f' {one.path}: {one.reason}.' for one in left_out)}"
        )
    content = _content(found, left_out)
    directory = Path(output_dir)
    run_directory.check_writable(directory)
    for name, text in ((MARKDOWN, _markdown(content)), (PAGE, _page(content))):
        with written_whole(directory / name) as temporary:
            temporary.write_text(text, "utf-8")
    _print(content)
    print(f"Written to {directory / MARKDOWN} and {directory / PAGE}.")


def _content(found: list[FoundRun], left_out: list[LeftOut]) -> _Content:
    runs, repeated = without_repeated(found)
    of_paper = [run for run in runs if report_tables.is_of_paper(run)]
    others = [run for run in runs if not report_tables.is_of_paper(run)]
    side_by_side = columns(of_paper)
    count = len(side_by_side)
    names = ["this run"] if count == 1 else [f"run {place + 1}" for place in range(count)]
    return _Content(side_by_side, names, others, runs, left_out + repeated)


def _markdown(content: _Content) -> str:
    table = report_tables.paper_table(content.columns, content.names)
    legend = [f"* {escape(line)}" for line in (*content.legend(), _SOURCE)]
    more = [table.markdown() for table in content.more_tables()]
    return "\n".join([f"# {_TITLE}", "", table.markdown(), *legend, "", *more])


def _page(content: _Content) -> str:
    pictures = [
        *report_pictures.pictures_of_vtab(content.columns, content.names),
        *report_pictures.pictures_of_runs(content.runs),
    ]
    # Names of tasks and directories are anybody's: all of them are escaped.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files(__package__).joinpath("report.html.jinja").read_text("utf-8")
    return environment.from_string(source).render(
        title=_TITLE,
        table=report_tables.paper_table(content.columns, content.names),
        legend=content.legend(),
        source=_SOURCE,
        more=content.more_tables(),
        studies=[picture for picture in pictures if picture.is_study],
        pictures=[picture for picture in pictures if not picture.is_study],
    )


def _print(content: _Content) -> None:
    for start in range(0, max(1, len(content.columns)), _ACROSS):
        part = slice(start, start + _ACROSS)
        report_tables.paper_table(content.columns[part], content.names[part]).print()
    print(*content.legend(), _SOURCE, "", sep="\n")
    for table in content.more_tables():
        table.print()

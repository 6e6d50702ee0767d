"""A table of texts, printed on a terminal or written as Markdown."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bit_keras.utils.printable import printable

# A width in characters that no table reaches, so that rich measures the full width of a table.
_MOST = 10**6

# Characters that have a meaning in Markdown or in HTML inside Markdown.
_SPECIAL = re.compile(r"[\\`*_\[\]<>&|~#]")


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are texts, with a title and named columns.

    Attributes:
        title: title of the table; it may be "".
        columns: names of the columns.
        rows: each row has as many cells as there are columns; a cell may be "".
        right: names of the columns whose cells are aligned right on the terminal.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[str, ...] = ()

    def print(self) -> None:
        """Prints the table on the terminal."""
        # Cells are `Text`, because rich takes square brackets in a plain string for its markup.
        title = Text(printable(self.title)) if self.title else None
        table = Table(title=title, title_justify="left")
        for name in self.columns:
            justify = "right" if name in self.right else "left"
            table.add_column(Text(printable(name)), justify=justify)
        for row in self.rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        _print_table(table)

    def markdown(self) -> str:
        """Returns the table's title as a Markdown heading, and below it the table in Markdown."""
        header = (_line(self.columns), "|" + " --- |" * len(self.columns))
        body = map(_line, self.rows)
        return "\n".join([f"## {escape(self.title)}", "", *header, *body, ""])


def _print_table(table: Table) -> None:
    """Prints a table of the package `rich` without cutting off or breaking a word.

    On a file or a pipe, the table is as wide as it needs. On a terminal where it does not fit, each
    row is printed as lines of a column's name and its cell.
    """
    console = Console()
    width = console.measure(table, options=console.options.update(width=_MOST)).maximum
    if not console.is_terminal:
        Console(width=width).print(table)
    elif width <= console.width:
        console.print(table)
    else:
        _print_as_lines(console, table)


def _print_as_lines(console: Console, table: Table) -> None:
    if table.title:
        console.print(table.title, soft_wrap=True)
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        console.print()
        for column, cell in zip(table.columns, cells, strict=True):
            console.print(Text.assemble(column.header, ": ", cell), soft_wrap=True)


def escape(text: str) -> str:
    r"""Joins a text into one line and escapes it, so that Markdown shows the text unchanged.

    >>> print(escape("a_b <c>"))
    a\_b \<c\>
    """
    return _SPECIAL.sub(r"\\\g<0>", " ".join(printable(text).split()))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(escape, cells))} |"

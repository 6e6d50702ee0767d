"""A table of texts, for a terminal and for Markdown."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Where a line is not cut by a terminal, as in a file.
_WIDTH = 200

# What Markdown, or the HTML inside of it, would take for its own.
_SPECIAL = re.compile(r"[\\`*_\[\]<>&|~#]")


@dataclass(frozen=True)
class TextTable:
    """A table; a cell that holds "" stays empty.

    Attributes:
        title: what is in it.
        columns: their names.
        rows: each with as many cells as there are columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def print(self) -> None:
        """Prints it on the terminal."""
        table = Table(title=Text(self.title), title_justify="left")
        for name in self.columns:
            table.add_column(Text(name))
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        console = Console()
        (console if console.is_terminal else Console(width=_WIDTH)).print(table)

    def markdown(self) -> str:
        """Returns it as a heading and a table."""
        header = (_line(self.columns), "|" + " --- |" * len(self.columns))
        body = map(_line, self.rows)
        return "\n".join([f"## {escape(self.title)}", "", *header, *body, ""])


def escape(text: str) -> str:
    r"""Returns a text as Markdown that shows it as it is, on one line.

    >>> print(escape("a_b <c>"))
    a\_b \<c\>
    """
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(escape, cells))} |"

"""Tables on wide and narrow terminals, and in files."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bit_keras.utils.natural_order import natural_key
from bit_keras.utils.text_table import TextTable

NAMES = ("task", "a long heading of a column", "file")
ROW = ("vtab/clevr-count", "98.30 ± 0.12 (n=3)", f"vtab/{'x' * 90}.npz")


@pytest.mark.parametrize("width", [20, 80, 200, None])
def test_no_word_is_lost_or_broken(width, monkeypatch):
    class Stream(io.StringIO):
        encoding = "utf-8"

        def isatty(self):
            return width is not None

    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", str(width or 80))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    TextTable("a title", NAMES, (ROW, ROW)).print()
    said = stream.getvalue()
    assert "…" not in said
    for text in (*NAMES, *ROW):
        assert text in said
    is_table = "│" in said
    assert is_table == (width in (200, None))
    if not is_table:
        assert f"\n{NAMES[2]}: {ROW[2]}\n" in said


def test_square_brackets_are_no_markup_and_numbers_are_aligned_right(capsys):
    rows = (("[bold]a[/bold]", "7"), ("[/]", "1,000"))
    TextTable("a [red]title", ("[name]", "number"), rows, right=("number",)).print()
    said = capsys.readouterr().out
    for text in ("a [red]title", "[name]", "[bold]a[/bold]", "[/] ", "     7 │", " 1,000 │"):
        assert text in said
    TextTable("", ("name",), ()).print()
    assert capsys.readouterr().out.startswith("┏")


@given(st.lists(st.text("a0123 ²", max_size=9)))
def test_the_natural_order_is_an_order_of_all_texts(texts):
    ordered = sorted(texts, key=natural_key)
    texts.reverse()
    assert sorted(texts, key=natural_key) == ordered
    numbers = [int(text) for text in ordered if text.isascii() and text.isdecimal()]
    assert numbers == sorted(numbers)

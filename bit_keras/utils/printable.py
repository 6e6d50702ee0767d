"""Converts names of files to text that can be printed, written to a file or drawn."""

import sys


def printable(text: str) -> str:
    r"""Returns a text without lone surrogates, which no encoding, terminal or font knows.

    Python holds a byte of a file's name that is not UTF-8 as a lone surrogate. It is escaped here
    in the same way as in a JSON file.

    >>> import os
    >>> print(printable(os.fsdecode(b"caf\xe9")))
    caf\udce9
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def print_text(text: str = "") -> None:
    """Prints a text; characters that the terminal's encoding lacks are escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))

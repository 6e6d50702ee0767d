"""Converts names of files and errors to text that can be printed, written to a file or drawn."""

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


def first_line(error: Exception) -> str:
    r"""Returns the first line of an error's message, or its class name if the message is empty.

    >>> first_line(ValueError("one line\nand another")), first_line(KeyError())
    ('one line', 'KeyError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def print_text(text: str = "") -> None:
    """Prints a text; characters that the terminal's encoding lacks are escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))

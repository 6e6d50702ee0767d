"""Reading and writing of text files in UTF-8."""

import os

from bit_keras.utils.atomic_file import atomic_write
from bit_keras.utils.printable import printable
from bit_keras.utils.regular_file import read_regular_file


def read_text(path: str | os.PathLike) -> str:
    """Returns the text of a file in UTF-8; a byte order mark at its start is left out.

    Raises:
        OSError: the path is not a regular file, or it cannot be read.
        ValueError: the file is not UTF-8; the message names the line.
    """
    try:
        text = read_regular_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path} is not a text file in UTF-8: line {line} has the byte "
            f"0x{error.object[error.start]:02x}. Save it in UTF-8, for example with "
            "iconv -f latin1 -t utf-8."
        ) from None
    # Files of Windows and of old Macs end their lines in other ways.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all; lone surrogates are escaped."""
    with atomic_write(path) as temporary:
        temporary.write_text(printable(text), "utf-8")

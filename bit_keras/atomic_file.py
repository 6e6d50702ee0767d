"""Files that appear whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`; moves it there when the block ends well.

    When the block raises, the temporary file is removed and what was at `path` stays. A reader,
    or a power cut, sees the old file or the new one and never half of either.

    Args:
        path: the file to write; its directory exists. The temporary path has the same suffix.

    Raises:
        OSError: when the directory cannot be written.

    Example:

    >>> with written_whole("/tmp/answer.txt") as temporary:
    ...     temporary.write_text("42")
    2
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

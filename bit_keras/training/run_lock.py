"""One process at a time in the directory of a run.

    .lock    held by the process that writes there, and removed by it in the end

The system gives back the lock of a process that is killed; its file stays and locks nothing.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from absl import logging
from filelock import FileLock, Timeout

LOCK = ".lock"

_held: set[str] = set()


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Keeps all other processes out of a run's directory until the block ends.

    Blocks of one process may be inside of each other. Where the file system has no locks, a warning
    says so and the block is entered without.

    Args:
        directory: of the run; it exists.

    Raises:
        BlockingIOError: another process holds it.
    """
    name = os.path.realpath(directory)
    if name in _held:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            _lock(directory, stack)
        except Timeout as error:
            raise BlockingIOError(
                f"Another process is training in {directory}. Wait until it has ended, or choose "
                f"another output_dir. (It holds {directory / LOCK}.)"
            ) from error
        except (OSError, NotImplementedError) as error:
            logging.warning("No lock on %s (%s): start one run in it at a time.", directory, error)
        _held.add(name)
        stack.callback(_held.discard, name)
        yield


def _lock(directory: Path, stack: contextlib.ExitStack) -> None:
    path = directory / LOCK
    stack.enter_context(FileLock(path, timeout=0))
    # While it is held: afterwards the file may be another process' lock.
    stack.callback(_unlink, path)


def _unlink(path: Path) -> None:
    # Some systems remove no open file; one that stays locks nothing.
    with contextlib.suppress(OSError):
        path.unlink()

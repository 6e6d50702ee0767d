"""Another process that has locked the directory of a run; it uses filelock alone."""

import contextlib
import subprocess
import sys

from bit_keras.runs.run_directory import LOCK

HOLD = """
import sys, filelock
with filelock.FileLock(sys.argv[1], timeout=0):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def other_process(directory):
    """Yields another process that has locked the directory, or None if it could not."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, directory / LOCK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        said = process.stdout.readline()
        try:
            yield process if said else None
        finally:
            process.kill()

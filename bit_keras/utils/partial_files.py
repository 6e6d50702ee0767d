"""Names temporary files beside the file to be written; removes those that killed processes left."""

import hashlib
import os
import re
import secrets
import shutil
import socket
from pathlib import Path

# The name of this machine, in a form that can be a part of a file's name.
HOST = re.sub(r"\W", "_", socket.gethostname())


def partial_path(path: Path, suffix: str = "") -> Path:
    """Returns a new path beside `path` for a temporary file or directory.

    The name says which process of which machine writes it, and is different in each thread. It is
    short, even if the name of `path` is as long as a name may be.

    Args:
        path: where the content belongs in the end.
        suffix: the last part of the new name.
    """
    return path.with_name(f"{partial_prefix(path)}{secrets.token_hex(4)}.partial{suffix}")


def partial_prefix(path: Path) -> str:
    """Returns how the names of all temporary files that this process makes for `path` begin."""
    return f"{_prefix(path)}{os.getpid()}-"


def remove_left(path: Path) -> None:
    """Removes the temporary files and directories that killed processes left beside `path`.

    Those of living processes, of other machines and for other files stay.
    """
    pattern = re.compile(rf"{re.escape(_prefix(path))}(\d+)-\w+\.partial(\..*)?", re.DOTALL)
    with os.scandir(path.parent) as entries:
        matches = [(entry, pattern.fullmatch(entry.name)) for entry in entries]
    for entry, match in matches:
        if match and not is_living(int(match[1])):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def is_living(pid: int) -> bool:
    """Returns True if a process with this process id is running on this machine."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _prefix(path: Path) -> str:
    return f".{_digest(os.fsencode(path.name))}-{_digest(HOST.encode())}-"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]

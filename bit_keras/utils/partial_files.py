"""Names temporary files beside the file to be written; removes those that killed processes left."""

import hashlib
import os
import re
import secrets
import shutil
import socket
from pathlib import Path

# The name of this machine, in a form that can be a part of a file's name.
_HOST = re.sub(r"\W", "_", socket.gethostname())


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


def left_behind(path: Path, own: bool = False) -> list[Path]:
    """Returns the temporary files and directories that killed processes left beside `path`.

    Those of living processes, of other machines and for other files are not among them.

    Args:
        path: where the content belongs in the end.
        own: if True, those of this process are included.
    """
    pattern = re.compile(rf"{re.escape(_prefix(path))}(\d+)-\w+\.partial(\..*)?", re.DOTALL)
    matches = (pattern.fullmatch(name) for name in os.listdir(path.parent))
    return [path.with_name(match[0]) for match in matches if match and _is_left(int(match[1]), own)]


def remove_left(path: Path, own: bool = False) -> None:
    """Removes the files and directories that `left_behind` returns."""
    for left in left_behind(path, own):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_left(pid: int, own: bool) -> bool:
    return own if pid == os.getpid() else not _is_living(pid)


def _is_living(pid: int) -> bool:
    """Returns True if a process with this process id is running on this machine."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _prefix(path: Path) -> str:
    return f".{_digest(os.fsencode(path.name))}-{_digest(_HOST.encode())}-"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]

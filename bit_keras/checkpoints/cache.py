"""Where published weight files lie on this machine."""

import os
from pathlib import Path

# The official release (google-research/big_transfer, README).
BASE_URL = "https://storage.googleapis.com/bit_models/"


def cache_directory() -> Path:
    """`$BIT_KERAS_HOME`, or `bit_keras` in the user's cache directory (`$XDG_CACHE_HOME`)."""
    home = os.environ.get("BIT_KERAS_HOME")
    if home:
        return Path(home)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bit_keras"


def cached_file(name: str) -> Path:
    """Returns the path of a published file, placed in the cache directory by hand.

    Args:
        name: below the base address, for instance "BiT-M-R50x1.npz".

    Raises:
        FileNotFoundError: it is not there; the message says where to get and put it.
    """
    path = cache_directory() / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{name} is not on this machine, and bit_keras does not download it yet. Fetch "
            f"{BASE_URL}{name} and put it at {path} (the directory is $BIT_KERAS_HOME), or pass "
            "its path as pretrained=."
        )
    return path

"""The libraries of the extra "convert", imported when a format asks for one."""

import importlib
import sys
from types import ModuleType


def library(name: str) -> ModuleType:
    """Returns an imported library.

    Raises:
        ImportError: it is not installed, or does not start.
    """
    if name == "openvino":
        # It reports each use to its makers over the network, unless this package is missing.
        sys.modules.setdefault("openvino_telemetry", None)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{name} cannot be imported ({error}). Install what this format needs: "
            'pip install "bit_keras[convert]"'
        ) from None

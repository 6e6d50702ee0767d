"""The programs beside the package use only its public names."""

import ast
from pathlib import Path

import pytest

import bit_keras

ROOT = Path(__file__).parents[1]

# It makes a file of the package, and splits pictures as the package's other tasks are split.
MAKES_A_FILE_OF_THE_PACKAGE = ROOT / "examples/upstream/clipart.py"
PROGRAMS = sorted({*ROOT.glob("export/*.py"), *ROOT.glob("examples/**/*.py")})
PROGRAMS.remove(MAKES_A_FILE_OF_THE_PACKAGE)


def is_public(name):
    """Returns True if a dotted name is `bit_keras`, or a public name of it or of `layers`.

    What follows a class or a function, such as a method, belongs to that public name.
    """
    first, *rest = name.removeprefix("bit_keras").removeprefix(".").split(".")
    if first == "layers" and rest:
        return rest[0] in bit_keras.layers.__all__
    return first == "" or first in bit_keras.__all__


def dotted_name(node):
    """Returns "a.b.c" for the expression a.b.c, or None for another expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted_name(node.value)
        return before and f"{before}.{node.attr}"
    return None


def is_of_package(name):
    return name == "bit_keras" or name.startswith("bit_keras.")


def private_names(source):
    """Returns the names of bit_keras that a program imports or reaches and that are not public."""
    tree = ast.parse(source)
    meaning, used = {}, set()  # of the names that the program's imports define
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                used.add(alias.name)
                whole = alias.name if alias.asname else alias.name.split(".")[0]
                meaning[alias.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                used.add(f"{node.module}.{alias.name}")
                meaning[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args:
            # importlib.import_module("bit_keras.x"), __import__ and monkeypatch's like.
            text = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            called = (dotted_name(node.func) or "").split(".")[-1]
            if called in ("import_module", "__import__") and isinstance(text, str):
                used.add(text)
    for node in ast.walk(tree):
        first, _, rest = (dotted_name(node) or "").partition(".")
        if first in meaning and rest:
            used.add(f"{meaning[first]}.{rest}")
    return sorted(name for name in used if is_of_package(name) and not is_public(name))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_program_uses_public_names_only(path):
    assert private_names(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from bit_keras.checkpoints.npz import load_npz", ["bit_keras.checkpoints.npz.load_npz"]),
        ("import bit_keras.runs.found_runs", ["bit_keras.runs.found_runs"]),
        ("import bit_keras.runs.found_runs as r", ["bit_keras.runs.found_runs"]),
        ("from bit_keras import runs", ["bit_keras.runs"]),
        (
            "import bit_keras\nbit_keras.runs.found_runs",
            ["bit_keras.runs", "bit_keras.runs.found_runs"],
        ),
        ("import bit_keras as b\nb._MODULES", ["bit_keras._MODULES"]),
        ("def f():\n    from bit_keras.cli import main", ["bit_keras.cli.main"]),
        ("from bit_keras import layers\nlayers.tracing", ["bit_keras.layers.tracing"]),
        ("import importlib\nimportlib.import_module('bit_keras.cli')", ["bit_keras.cli"]),
        ("from bit_keras import *", ["bit_keras.*"]),
    ],
)
def test_a_private_name_is_found(source, found):
    assert private_names(source) == found


@pytest.mark.parametrize(
    "source",
    [
        "import bit_keras\nbit_keras.HyperRule.for_task(1)\nbit_keras.__version__",
        "import bit_keras\nbit_keras.layers.GroupNormalization()",
        "from bit_keras import BiT_M_R50x1, layers\nlayers.StandardizedConv2D",
        "from bit_keras.layers import HubLayer",
        "bit_keras_of_mine = 1\nbit_keras_of_mine.runs",
    ],
)
def test_public_names_are_not_found(source):
    assert private_names(source) == []

"""Each folder of the package imports only from the folders above it in one order."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bit_keras"

# The order of the README's map and of the data's way: a checkpoint becomes a network, which is
# trained on a task, evaluated and exported. This table is the only place where it stands as code.
ORDER = (
    "utils",
    "hyperrule",
    "layers",
    "distribution",
    "checkpoints",
    "models",
    "data",
    "costing",
    "runs",
    "evaluation",
    "exporters",
    "training",
    "experiments",
    "cli",
)

# The public face of the package imports from everywhere, and the version from nowhere.
OUTSIDE = {"__init__", "__main__", "_version"}


def imported_modules(path):
    """Returns the modules of the package that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("bit_keras."))
        elif isinstance(node, ast.ImportFrom) and node.module == "bit_keras":
            yield from (f"bit_keras.{name.name}" for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bit_keras."):
            yield node.module


def wrong_imports(path, folder):
    """Returns the imports of a file that are not from its own folder or one above it."""
    allowed = {*ORDER[: ORDER.index(folder) + 1], "_version"}
    rooms = {module: module.split(".")[1] for module in imported_modules(path)}
    return [module for module, room in rooms.items() if room not in allowed]


def test_every_folder_and_file_has_a_place_in_the_order():
    found = {path.stem for path in PACKAGE.glob("*.py")} - OUTSIDE
    found |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert found == set(ORDER)


@pytest.mark.parametrize("folder", ORDER)
def test_a_folder_imports_only_from_those_above_it(folder):
    files = [PACKAGE / f"{folder}.py", *(PACKAGE / folder).rglob("*.py")]
    found = {
        path.relative_to(PACKAGE).as_posix(): wrong
        for path in files
        if path.exists() and (wrong := wrong_imports(path, folder))
    }
    assert not found


def test_an_import_from_below_is_found(tmp_path):
    file = tmp_path / "file.py"
    file.write_text("def f():\n    from bit_keras.cli.flags import Command\n    return Command\n")
    assert wrong_imports(file, "models") == ["bit_keras.cli.flags"]
    assert wrong_imports(file, "cli") == []

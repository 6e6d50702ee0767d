"""Programs of examples/ as modules in the tests' process."""

import importlib.util
import sys
from pathlib import Path

import matplotlib.image
import pytest
from absl import flags

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """`example(name, *arguments)` imports a program and parses its flags; its `main([])` then
    writes into an empty directory."""
    monkeypatch.chdir(tmp_path)
    before = set(flags.FLAGS)

    def load(name, *arguments):
        specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(specification)
        # absl names a flag's module by looking it up there.
        monkeypatch.setitem(sys.modules, name, module)
        specification.loader.exec_module(module)
        flags.FLAGS([name, *arguments])
        return module

    yield load
    for flag in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, flag)
    flags.FLAGS.unparse_flags()


@pytest.fixture
def check_picture():
    def check(name):
        pixels = matplotlib.image.imread(f"{name}.png")[..., :3]
        assert min(pixels.shape[:2]) >= 300
        assert pixels.std() > 0.05  # something is drawn

    return check

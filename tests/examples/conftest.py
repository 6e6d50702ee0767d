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
    # Another test of this process may have imported a program whose flags have the same names.
    aside = [flags.FLAGS[name] for name in flags.FLAGS if not _of_absl(name)]
    for flag in aside:
        delattr(flags.FLAGS, flag.name)
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
    for flag in aside:
        flags.FLAGS[flag.name] = flag
    flags.FLAGS.unparse_flags()


def _of_absl(flag):
    return (flags.FLAGS.find_module_defining_flag(flag) or "").startswith("absl")


@pytest.fixture
def check_picture():
    def check(name):
        pixels = matplotlib.image.imread(f"{name}.png")[..., :3]
        assert min(pixels.shape[:2]) >= 300
        assert pixels.std() > 0.05  # something is drawn

    return check

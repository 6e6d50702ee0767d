"""Private parts of Keras and TensorFlow are used in two files only."""

import ast
from pathlib import Path

import keras
import pytest

from bit_keras.utils.keras_internals import Functional

ROOT = Path(__file__).parents[1]

# CONTRIBUTING.md lists what these files use, and why.
ALLOWED = {"bit_keras/models/model.py", "bit_keras/utils/keras_internals.py"}

_PRIVATE_MODULES = ("keras.src", "tensorflow.python", "tf.python", "tensorflow.lite.python")


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def private_names_of_keras():
    """Returns the private attributes of Keras' classes and of instances of them."""
    layer = keras.layers.Conv2D(1, 1)
    layer.build((None, 4, 4, 1))
    dense = keras.layers.Dense(2)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, dense(inputs))
    model.compile(keras.optimizers.SGD(), "mse", metrics=["mae"])
    model.train_on_batch(keras.ops.ones((1, 3)), keras.ops.ones((1, 2)))
    objects = [
        *(layer, dense, model, inputs, model.optimizer, layer.kernel, inputs._keras_history),
        *(keras.losses.MeanSquaredError(), keras.metrics.Mean(), keras.callbacks.Callback()),
        keras.initializers.Zeros(),
        keras.optimizers.schedules.CosineDecay(0.1, 1),
    ]
    names = {name for found in (*objects, Functional) for name in dir(found)}
    return {name for name in names if is_private(name)}


PRIVATE_OF_KERAS = private_names_of_keras()


def defined_names(tree):
    """Returns the private names that a file defines: functions, classes, variables, attributes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        ):
            found.add(node.attr)
    return {name for name in found if is_private(name)}


class _Finder(ast.NodeVisitor):
    """Collects uses of private parts; `known` are the private names that this project defines."""

    def __init__(self, known):
        self.known, self.found, self.inherits = known, [], False

    def add(self, node, name):
        self.found.append((node.lineno, name))

    def visit_Import(self, node):
        for alias in node.names:
            self.check_module(node, alias.name)

    def visit_ImportFrom(self, node):
        for alias in node.names:
            self.check_module(node, f"{node.module}.{alias.name}")

    def check_module(self, node, name):
        parts = name.split(".")
        is_library = parts[0] in ("keras", "tensorflow", "tf", "keras_cv", "tensorflow_hub")
        if is_library and (name.startswith(_PRIVATE_MODULES) or any(map(is_private, parts))):
            self.add(node, name)

    def visit_ClassDef(self, node):
        outer, self.inherits = self.inherits, bool(node.bases)
        methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
        for method in methods if self.inherits else ():
            if method.name in PRIVATE_OF_KERAS:  # It overrides a private method.
                self.add(method, method.name)
        self.generic_visit(node)
        self.inherits = outer

    def visit_Call(self, node):
        functions = ("getattr", "setattr", "hasattr", "delattr")
        if isinstance(node.func, ast.Name) and node.func.id in functions:
            self.check_string(node.args[1])
        self.generic_visit(node)

    def visit_Subscript(self, node):
        self.check_string(node.slice)  # vars(x)["_name"]
        self.generic_visit(node)

    def check_string(self, node):
        is_name = isinstance(node, ast.Constant) and is_private(str(node.value))
        # visit_Constant finds the names of Keras' own objects.
        if is_name and node.value not in self.known | PRIVATE_OF_KERAS:
            self.add(node, node.value)

    def visit_Attribute(self, node):
        if node.attr in ("src", "python"):
            self.check_module(node, ast.unparse(node))
        is_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        # In a class without a base, self has only attributes of our own.
        is_ours = node.attr in self.known and (
            node.attr not in PRIVATE_OF_KERAS or (is_self and not self.inherits)
        )
        is_documented = isinstance(node.value, ast.Name) and node.value.id == "os"  # os._exit
        if is_private(node.attr) and not (is_ours or is_documented):
            self.add(node, node.attr)
        self.generic_visit(node)

    def visit_Constant(self, node):
        if isinstance(node.value, str) and node.value in PRIVATE_OF_KERAS:
            self.add(node, node.value)


def uses(source, known=frozenset()):
    """Returns the private parts of Keras and TensorFlow that a source uses, with their lines.

    Args:
        source: the text of a Python file.
        known: private names that other files of this project define.
    """
    tree = ast.parse(source)
    finder = _Finder(defined_names(tree) | known)
    finder.visit(tree)
    return finder.found


def sources():
    folders = ("bit_keras", "export", "examples")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_private_parts_stand_in_two_files():
    found = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sources()}
    outside = {name: text for name, text in found.items() if name not in ALLOWED}
    known = set().union(*(defined_names(ast.parse(text)) for text in outside.values()))
    problems = {name: uses(text, frozenset(known)) for name, text in outside.items()}
    assert {name: list_ for name, list_ in problems.items() if list_} == {}
    assert all(uses(found[name]) for name in ALLOWED)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from keras.src.models import Functional", "keras.src.models.Functional"),
        ("import tensorflow.python.eager.record", "tensorflow.python.eager.record"),
        ("from tensorflow.python.eager import record", "tensorflow.python.eager.record"),
        ("def f(tensor): return tensor._keras_history", "_keras_history"),
        ("class A(B):\n def f(self): return self._kernel", "_kernel"),
        ("class A(B):\n def _standardize_inputs(self): pass", "_standardize_inputs"),
        ("class A(B):\n def f(self): self._tracker = 1", "_tracker"),
        ("vars(x)['_all_reduce_sum_gradients'] = 1", "_all_reduce_sum_gradients"),
        ("getattr(x, '_loss_tracker', None)", "_loss_tracker"),
        ("x._unknown_part()", "_unknown_part"),
        ("import keras\nkeras.src.models.Functional", "keras.src"),
        ("import tensorflow as tf\ntf.python.eager", "tf.python"),
        ("getattr(iterator, '_distributed_dataset')", "_distributed_dataset"),
        ("vars(spec)['_component_specs']", "_component_specs"),
    ],
)
def test_a_use_is_found(source, name):
    assert [part for _, part in uses(source)] == [name]


@pytest.mark.parametrize(
    "source",
    [
        "import keras\nfrom keras import layers",
        "class A:\n def __init__(self): self._own = 1\n def f(self): return self._own",
        "def _variables(): pass\n_variables()",
        "class A:\n def f(self): self._value = 1",
        "from bit_keras._version import __version__",
        "_VALUE = 1\nprint(_VALUE)",
    ],
)
def test_names_of_our_own_are_allowed(source):
    assert uses(source) == []

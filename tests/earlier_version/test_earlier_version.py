"""Files, names and flags of an earlier version of the package still mean the same.

`write_files.py` wrote files.tar.xz and public.json with that version.
"""

import ast
import json
import re
import shutil
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from earlier_version.commands_run import RUNS, files_below
from earlier_version.listings import flags, signatures
from earlier_version.network import RULE, images, network, task

import bit_keras
from bit_keras.cli.main import COMMANDS, main

HERE = Path(__file__).parent
PUBLIC = json.loads((HERE / "public.json").read_text())
LABELS = np.arange(12) % 3

# The logits are up to 24; another processor sums in another order.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("earlier")
    with tarfile.open(HERE / "files.tar.xz") as archive:
        archive.extractall(directory, filter="data")
    return directory


@pytest.fixture(scope="module")
def expected(files):
    return np.load(files / "expected.npz")


def inputs():
    return np.asarray(bit_keras.preprocess_input(images()))


def test_a_compiled_keras_file_gives_the_same_numbers_and_trains_on(files, expected):
    model = keras.models.load_model(files / "compiled.keras")
    np.testing.assert_allclose(model.predict(inputs(), verbose=0), expected["logits"], **TOLERANCE)
    loss, accuracy = model.evaluate(inputs(), LABELS, verbose=0)
    np.testing.assert_allclose(loss, expected["loss"], rtol=1e-4)
    np.testing.assert_allclose(accuracy, expected["accuracy"])
    assert type(model) is bit_keras.ResNetV2
    assert int(model.optimizer.iterations) == 3  # it was saved after three steps
    model.fit(inputs(), LABELS, batch_size=12, epochs=1, verbose=0)
    assert int(model.optimizer.iterations) == 4


def test_a_weight_file_gives_the_same_numbers(files, expected):
    model = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=3)
    bit_keras.load_npz(model, files / "weights.npz")
    np.testing.assert_allclose(model.predict(inputs(), verbose=0), expected["logits"], **TOLERANCE)


def test_a_saved_model_gives_the_same_numbers(files, expected):
    module = tf.saved_model.load(str(files / "saved_model"))
    np.testing.assert_allclose(module(images() / np.float32(255)), expected["logits"], **TOLERANCE)
    layer = bit_keras.HubLayer(files / "saved_model")
    np.testing.assert_allclose(layer(images() / np.float32(255)), expected["logits"], **TOLERANCE)


def test_a_stopped_run_goes_on_where_it_stopped(files, tmp_path):
    run = shutil.copytree(files / "stopped", tmp_path / "run")
    result = bit_keras.finetune(network(), task(), RULE, output_dir=run, verbose=False)
    wanted = json.loads((files / "finished" / "history.json").read_text())
    assert result.history["step"] == wanted["step"]
    # The first three steps are read from the state, the others are trained here.
    assert result.history["loss"][:3] == wanted["loss"][:3]
    np.testing.assert_allclose(result.history["loss"], wanted["loss"], rtol=1e-3)
    metrics = json.loads((files / "finished" / "metrics.json").read_text())
    np.testing.assert_allclose(result.metrics["test_loss"], metrics["test_loss"], rtol=1e-3)
    assert result.metrics["configuration"] == metrics["configuration"]


def test_a_finished_run_is_opened(files, tmp_path):
    run = shutil.copytree(files / "finished", tmp_path / "run")
    result = bit_keras.finetune(network(), task(), RULE, output_dir=run, verbose=False)
    assert result.metrics == json.loads((files / "finished" / "metrics.json").read_text())
    logits = result.model.predict(inputs(), verbose=0)
    accuracy = np.mean(np.argmax(logits, axis=-1) == LABELS)
    np.testing.assert_allclose(accuracy, result.metrics["test_accuracy"])


def without_modules(signature):
    """Returns a signature without the modules of its annotations' classes and without quotes.

    Annotations are strings, in quotes, where a module has `from __future__ import annotations`.
    """
    return re.sub(r"(?:\b[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", signature).replace("'", "")


def parameters(signature):
    """Maps each parameter of a signature to its annotation and its default, or None."""
    arguments = ast.parse(f"def f{without_modules(signature)}: pass").body[0].args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = dict(zip(reversed(positional), reversed(arguments.defaults), strict=False))
    defaults |= dict(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    every = [*positional, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    return {
        each.arg: (ast.unparse(each), defaults.get(each) and ast.unparse(defaults[each]))
        for each in every
        if each is not None
    }


def test_public_signatures_are_the_same_but_for_new_options():
    now = signatures()
    for name, signature in PUBLIC["signatures"].items():
        if not signature.startswith("("):
            assert now[name] == signature, name
            continue
        here, earlier = parameters(now[name]), parameters(signature)
        assert list(earlier) == [parameter for parameter in here if parameter in earlier], name
        for parameter, (annotation, default) in here.items():
            if parameter in earlier:
                types, default_then = earlier[parameter]
                assert default == default_then, f"{name}: {parameter}"
                # An argument may take more types than it did.
                assert set(types.split(" | ")) <= set(annotation.split(" | ")), (
                    f"{name}: {parameter}"
                )
            else:
                assert default is not None or parameter == "unknown", f"{name}: {parameter}"


def test_flags_are_the_same():
    now = json.loads(json.dumps(flags(COMMANDS)))
    for name, command in PUBLIC["flags"].items():
        assert now[name]["arguments"] == command["arguments"]
        assert now[name]["required"] == command["required"]
        for flag, kind_and_default in command["flags"].items():
            assert now[name]["flags"][flag] == kind_and_default, f"{name} --{flag}"


# Files of runs that the earlier version did not write.
ADDED = {"task.json"}


@pytest.mark.slow
def test_commands_leave_the_same_files(tmp_path):
    for name, words in RUNS.items():
        words = [word.format(folder=tmp_path) for word in words]
        assert main([*words, f"--output_dir={tmp_path / name}"]) == 0
        left = files_below(tmp_path / name)
        known = {file: keys for file, keys in left.items() if Path(file).name not in ADDED}
        assert known == PUBLIC["run_files"][name], name

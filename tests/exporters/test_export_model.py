"""`bit-keras export`: from wherever a model lies, and what is refused before it is loaded."""

import json

import numpy as np
import pytest
import tensorflow as tf
from networks import images, randomize, tiny

from bit_keras.cli.main import main
from bit_keras.exporters import export_model as export_module
from bit_keras.runs import run_directory


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The directory of a finished run on digits; the working directory is beside it."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "runs" / "mine"
    directory.mkdir(parents=True)
    configuration = {"command": "finetune", "task": "digits", "rule": {"crop": 32}}
    run_directory.write_json(directory / run_directory.CONFIG, configuration)
    run_directory.write_json(directory / run_directory.METRICS, {})
    randomize(tiny()).save(directory / run_directory.MODEL)
    return directory


def test_a_run_as_a_saved_model(run, tmp_path, capsys):
    assert main(["export", str(run), "--input_range=0,255"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("mine.saved_model: ")
    assert " MB; error " in said
    module = tf.saved_model.load(str(tmp_path / "mine.saved_model"))
    description = json.loads(module.describe().numpy())
    assert description["input_range"] == [0, 255]
    assert description["serving_bytes_size"] == [32, 32]
    assert module.variables
    names = (tmp_path / "mine.saved_model/assets/class_names.txt").read_text()
    assert names.split() == list("0123456789")


@pytest.mark.slow
def test_a_task_that_is_gone_costs_the_names_only(run, capsys):
    config = run / run_directory.CONFIG
    config.write_text(config.read_text().replace('"digits"', '"folder:/no/such/folder"'))
    assert main(["export", str(run), "--freeze", "--output=out"]) == 0
    assert "The classes have numbers for names" in capsys.readouterr().out
    assert not tf.saved_model.load("out").variables


@pytest.mark.slow
def test_a_run_as_npz(run, tmp_path, capsys):
    assert main(["export", str(run), "--format=npz"]) == 0
    with np.load(tmp_path / "mine.npz") as arrays:
        assert arrays["resnet/head/conv2d/bias"].shape == (10,)
    assert main(["export", str(run), "--format=npz"]) == 2
    assert "The path exists; choose another" in capsys.readouterr().err
    assert main(["export", str(run), "--format=npz", "--overwrite"]) == 0


@pytest.mark.peer
def test_a_run_as_litert_with_int8(run, tmp_path, capsys):
    assert main(["export", str(run), "--format=litert", "--int8"]) == 0
    assert "(bound 1e-01)" in capsys.readouterr().out
    assert (tmp_path / "mine-int8.tflite").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format=onx"], "the nearest name is 'onnx'"),
        (["--format=litert_int8"], "Expected one of saved_model, litert, onnx"),
        (["--format=onnx", "--int8"], "int8 is for litert"),
        (["--int8"], "int8 is for litert"),
        (["--format=litert", "--freeze"], "litert is always frozen"),
        (["--format=keras", "--freeze"], "holds the weights to train on"),
        (["--format=npz", "--input_range=0,1"], "takes images in [-1, 1]"),
        (["--input_range=black,white"], "got 'black,white'"),
        (["--input_range=1,0"], "with the lower one first"),
        (["--format=keras", "--output=model.h5"], "ends in .keras"),
        (["--output=runs", "--overwrite"], "is not only a SavedModel"),
        (["--weights=ilsvrc2012"], "which has its own"),
    ],
)
def test_refused(run, tmp_path, capsys, arguments, message):
    assert main(["export", str(run), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_names_of_the_formats():
    assert export_module.NAMES == ("saved_model", "litert", "onnx", "openvino", "keras", "npz")


@pytest.mark.slow
def test_images_are_of_the_range_that_was_asked_for(run):
    assert main(["export", str(run), "--input_range=-1,1", "--output=out"]) == 0
    batch = images(2, 40, 56, 3)
    from bit_keras.exporters.engines import load

    np.testing.assert_allclose(load("out")(batch), load(run)(batch), rtol=1e-3, atol=1e-4)

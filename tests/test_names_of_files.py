"""Names of classes and paths: not in UTF-8, in what a run draws and writes; or beginning with ~."""

import dataclasses
import io
import os
import sys

import hypothesis
import numpy as np
import pytest
from array_tasks import array_task
from hypothesis import strategies as st
from matplotlib.figure import Figure
from networks import QuickResNet, quick
from PIL import Image

import bit_keras
from bit_keras import DownloadError
from bit_keras.cli.evaluate import print_summary
from bit_keras.cli.report import print_report
from bit_keras.evaluation import confusion, evaluate, plots
from bit_keras.evaluation.predictions import Predictions
from bit_keras.experiments import fewshot_report, vtab_report
from bit_keras.experiments.fewshot import fewshot
from bit_keras.experiments.report import report
from bit_keras.experiments.seeds import finetune_seeds
from bit_keras.exporters.export_model import export_model

# Names that a file may have on Linux: any bytes but a slash and a zero.
NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: not {0, ord("/")} & set(name) and name not in (b".", b"..")
)
THREE_NAMES = st.lists(NAMES, min_size=3, max_size=3, unique=True)

BUDGET = {"steps": 1, "batch_size": 4, "resize": 36, "crop": 32}
CROP = 16


def lay_out(figure, path, **_):
    figure.draw_without_rendering()
    path.write_bytes(b"")


@hypothesis.settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(names=THREE_NAMES)
@hypothesis.example(names=[b"caf\xe9", b"\xff\xfe", "日本 $x^".encode()])
def test_names_of_any_bytes_are_drawn_written_and_printed(names, tmp_path, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(sys, "stdout", terminal)
    # Texts are laid out, which is where matplotlib refuses some, and no pixel is drawn.
    monkeypatch.setattr(Figure, "savefig", lay_out)
    names = tuple(map(os.fsdecode, names))
    task = array_task(np.zeros((3, 8, 8, 3), "uint8"))
    task = dataclasses.replace(task, name=f"folder:{names[0]}", class_names=names)
    predictions = Predictions(np.eye(3, dtype="float32")[[1, 1, 2]], task.test.labels)
    history = {"step": [1], "loss": [1.0], "accuracy": [0.5], "learning_rate": [0.1]}
    confusion.plot_confusion_matrix(predictions, task, tmp_path / "confusion.png")
    plots.plot_worst_mistakes(predictions, task, CROP, tmp_path / "mistakes.png")
    plots.plot_learning_curve(history, 0.5, task.name, tmp_path / "curve.png")
    evaluate.write_classes(predictions, task, tmp_path / "classes.csv")
    print_summary(predictions.metrics(), predictions, task)
    terminal.flush()
    for written in ((tmp_path / "classes.csv").read_bytes(), terminal.buffer.getvalue()):
        assert len(written.decode("utf-8").splitlines()) > 3


def pictures(folder, names):
    """A folder with a subfolder of five images for each name."""
    for name in map(os.fsdecode, names):
        (folder / name).mkdir(parents=True)
        for i in range(5):
            file = folder / name / os.fsdecode(b"%d\xe4.png" % i)
            Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(file)
    return folder


@pytest.fixture
def run(tmp_path, eager, monkeypatch):
    """A run on a folder with such names, in a directory with such a name."""
    monkeypatch.setattr(Figure, "savefig", lay_out)
    folder = pictures(tmp_path / os.fsdecode(b"images\xe9"), [b"\xff", b"caf\xe9", b"plain"])
    output_dir = tmp_path / os.fsdecode(b"run\xe9")
    bit_keras.finetune(quick(3), f"folder:{folder}", budget=BUDGET, output_dir=output_dir)
    return output_dir


def test_a_run_on_such_a_folder_ends_and_is_evaluated_and_reported(run, tmp_path, capsys):
    evaluation = evaluate.prepare_evaluation(run, output_dir=run.with_name("evaluation"))
    metrics, _ = evaluate.run_evaluation(evaluation)
    assert list(metrics["per_class_accuracy"]) == ["caf\udce9", "plain", "\udcff"]
    print_report(report([tmp_path], tmp_path / "report"))
    assert r"images\udce9" in (tmp_path / "report" / "report.html").read_text("utf-8")
    assert r"images\\udce9" in (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "Other runs" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_on_such_a_folder_is_exported_with_its_names(run, tmp_path):
    export_model(run, "saved_model", output=tmp_path / "exported")
    names = (tmp_path / "exported" / "assets" / "class_names.txt").read_text("utf-8")
    assert names.splitlines() == [r"caf\udce9", "plain", r"\udcff"]


def refuse(*_, **__):
    raise TypeError("matplotlib does not know this text")


def test_a_picture_that_cannot_be_drawn_costs_no_result(tmp_path, monkeypatch, eager, caplog):
    monkeypatch.setattr(Figure, "savefig", refuse)
    result = bit_keras.finetune(
        quick(), "digits", budget=BUDGET, output_dir=tmp_path / "run", verbose=False
    )
    found = {path.name for path in (tmp_path / "run").iterdir()}
    files = ("config.json", "metrics.json", "history.json", "task.json", "model.keras")
    assert found == {*files, "tensorboard"}
    evaluation = evaluate.prepare_evaluation(tmp_path / "run", output_dir=tmp_path / "evaluation")
    evaluate.run_evaluation(evaluation)
    found = {path.name for path in (tmp_path / "evaluation").iterdir()}
    assert found == {"config.json", "metrics.json", "per_class.csv"}
    asked = {**result.metrics["configuration"], "seeds": [0], "method": "linear probe"}
    record = {**fewshot_report.numbers_of({1: [0.5]}), "configuration": asked}
    fewshot_report.write_record(record, 10, tmp_path)
    vtab_report.write_record({0: {"dtd": 0.5}}, [], ["dtd"], {"configuration": asked}, tmp_path)
    assert {path.name for path in tmp_path.glob("*.*")} == {"fewshot.md", "vtab.md", "metrics.json"}
    assert caplog.text.count("was not written, because of TypeError") == 6


@pytest.fixture
def home(tmp_path, monkeypatch, eager):
    """The home directory, which is not the current one; at the end neither holds a `~`."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(Figure, "savefig", lay_out)
    yield tmp_path
    assert not list((tmp_path / "elsewhere").iterdir())
    assert not (tmp_path / "~").exists()


OPTIONS = {"budget": BUDGET, "verbose": False}


def test_a_tilde_is_the_home_directory_in_every_path(home):
    bit_keras.finetune(quick(), "digits", output_dir="~/run", **OPTIONS)
    report(["~/run"], "~/report")
    export_model("~/run", "keras", output="~/exported.keras")
    bit_keras.save_npz(QuickResNet(), "~/weights.npz")
    bit_keras.load_npz(QuickResNet(), "~/weights.npz")
    with pytest.raises(DownloadError, match=f"not prepared in {home}/data"):
        bit_keras.task("cifar10", data_dir="~/data")
    for name in ("run", "report", "exported.keras", "weights.npz"):
        assert (home / name).exists()


@pytest.mark.slow
def test_a_tilde_is_the_home_directory_in_studies(home):
    finetune_seeds(quick(), "digits", seeds=[0], output_dir="~/seeds", **OPTIONS)
    fewshot(quick(), "digits", shots=[1], seeds=[0], output_dir="~/shots", **OPTIONS)
    evaluate.run_evaluation(evaluate.prepare_evaluation("~/seeds/seed-0", output_dir="~/test"))
    for name in ("seeds", "shots", "test"):
        assert (home / name / "config.json").exists() or (home / name / "seeds.json").exists()

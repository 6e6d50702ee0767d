"""The evaluation of saved models and `bit-keras evaluate`: files, defaults and refusals."""

import csv
import json
import os
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from array_tasks import array_task
from networks import randomize, shrink, tiny

import bit_keras
from bit_keras.cli.main import main
from bit_keras.evaluation.evaluate import prepare_evaluation, run_evaluation

FILES = {
    "config.json",
    "metrics.json",
    "per_class.csv",
    "confusion_matrix.png",
    "worst_mistakes.png",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of fine-tuning, of one step."""
    return bit_keras.finetune(
        "R14x0.5",
        "digits",
        budget={"steps": 1, "batch_size": 2},
        output_dir=tmp_path_factory.mktemp("runs") / "first",
        verbose=False,
    )


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "mine.keras"
    randomize(tiny(input_shape=(32, 32, 3), name="my_net")).save(path)
    return path


@pytest.fixture
def task():
    """Twenty images of ten classes; class 3 has none."""
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype("uint8")
    return array_task(images, [label if label != 3 else 4 for label in (*range(10), *range(10))])


def evaluate_saved(*arguments, **options):
    evaluation = prepare_evaluation(*arguments, **options)
    return evaluation.finished or run_evaluation(evaluation)[0]


def read(directory):
    return json.loads((directory / "metrics.json").read_text())


def test_the_command(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(run.output_dir)]) == 0
    said = capsys.readouterr().out
    directory = tmp_path / "runs" / "evaluate-first-digits"
    assert set(os.listdir(directory)) == FILES
    metrics = read(directory)
    # The model on the disk is the one that was trained, at the resolution of the training.
    for name in ("test_accuracy", "num_test_examples"):
        assert metrics[name] == run.metrics[name]
    assert metrics["test_loss"] == pytest.approx(run.metrics["test_loss"], rel=1e-5)
    assert metrics["seed"] is None
    assert metrics["versions"]["keras"] == keras.__version__
    configuration = metrics["configuration"]
    for digest in ("model_sha256", "class_names_sha256"):
        assert re.fullmatch("[0-9a-f]{64}", configuration.pop(digest))
    assert configuration == {
        "command": "evaluate",
        "model": "R14x0.5",
        "weights": "saved",
        "task": "digits",
        "num_test_examples": 360,
        "source": "",
        "crop": 32,
    }
    assert f"Test accuracy {metrics['test_accuracy']:.2%} of all 360 test images, top-5" in said
    worst = min(metrics["per_class_accuracy"].values())
    assert f"{worst:.1%}" in said.split("Classes with the lowest accuracy")[1]
    assert "Most frequent confusions" in said
    for picture in ("confusion_matrix.png", "worst_mistakes.png"):
        image = tf.io.decode_png((directory / picture).read_bytes())
        assert min(image.shape[:2]) > 300
        assert float(tf.math.reduce_std(tf.cast(image, "float32"))) > 10

    before = {name: (directory / name).stat().st_mtime_ns for name in FILES}
    assert main(["evaluate", str(run.output_dir / "model.keras")]) == 0
    assert "finished: nothing to do" in capsys.readouterr().out
    assert {name: (directory / name).stat().st_mtime_ns for name in FILES} == before
    assert main(["evaluate", str(run.output_dir), "--crop=40"]) == 2
    assert "crop is 32 there and 40 here" in capsys.readouterr().err


def test_per_class_csv_and_metrics_agree(saved, task, tmp_path):
    metrics = evaluate_saved(saved, task, output_dir=tmp_path / "e")
    assert metrics == read(tmp_path / "e")
    with open(tmp_path / "e" / "per_class.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(task.class_names)
    assert [int(row["num_test_examples"]) for row in rows] == [2, 2, 2, 0, 4, 2, 2, 2, 2, 2]
    assert sum(int(row["num_right"]) for row in rows) == round(20 * metrics["test_accuracy"])
    accuracies = {row["class"]: float(row["accuracy"] or "nan") for row in rows}
    assert np.isnan(accuracies.pop("class 3"))
    assert metrics["per_class_accuracy"].pop("class 3") is None
    assert accuracies == metrics["per_class_accuracy"]


def test_a_keras_file_is_evaluated_at_its_own_input_size(saved, task, tmp_path):
    metrics = evaluate_saved(saved, task, output_dir=tmp_path / "e")
    assert metrics["configuration"]["crop"] == 32
    assert metrics["configuration"]["model"] == "my_net"
    rule = bit_keras.HyperRule.for_task(1437, (8, 8)).scaled(resize=32, crop=32)
    expected = bit_keras.evaluate(keras.models.load_model(saved), task, rule)
    assert {name: metrics[name] for name in expected} == expected


def test_a_keras_file_of_any_input_size_is_evaluated_at_the_crop_of_the_rule(tmp_path, monkeypatch):
    seen = []

    def stop(model, task, crop, progress_bar):
        seen.append(crop)
        raise KeyboardInterrupt

    monkeypatch.setattr("bit_keras.evaluation.evaluate.predict", stop)
    tiny().save(tmp_path / "any.keras")
    with pytest.raises(KeyboardInterrupt):
        evaluate_saved(tmp_path / "any.keras", "digits", output_dir=tmp_path / "e")
    assert seen == [128]
    # An interrupted evaluation leaves no metrics.json, so the same call starts again.
    assert os.listdir(tmp_path / "e") == ["config.json"]


@pytest.mark.slow
def test_a_published_checkpoint_is_evaluated_at_the_crop_of_its_training(
    task, tmp_path, monkeypatch
):
    shrink(monkeypatch)
    monkeypatch.setenv("BIT_KERAS_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "vtab" / "BiT-M-R50x1-run0-svhn.npz"
    file.parent.mkdir()
    model = randomize(tiny())
    bit_keras.save_npz(model, file)
    metrics = evaluate_saved("BiT-M-R50x1", task, weights="vtab/run0/svhn")
    assert metrics == read(tmp_path / "runs" / "evaluate-BiT-M-R50x1-vtab-run0-svhn-arrays")
    assert metrics["configuration"]["model"] == "BiT-M-R50x1"
    assert metrics["configuration"]["weights"] == "vtab/run0/svhn"
    # The crop is that of the rule for SVHN, on which the checkpoint was trained.
    assert metrics["configuration"]["crop"] == 128
    expected = bit_keras.evaluate(model, task)
    assert metrics["per_class_accuracy"] == expected["per_class_accuracy"]
    assert metrics["test_loss"] == pytest.approx(expected["test_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "evaluate needs the argument MODEL"),
        (["none.keras"], "There is no model none.keras"),
        (["{saved}"], "It is not known which task"),
        (["{saved}", "--task=digit"], "Did you mean 'digits'"),
        (["{saved}", "--task=digits", "--crop=0"], "crop must be an integer of at least 1"),
        (["{saved}", "--task=digits", "--crop=64"], "takes input of shape (None, 32, 32, 3)"),
        (["{saved}", "--task=digits", "--weights=a.npz"], "which has its own"),
        (["{saved}", "--task=digits", "--output_dir=/proc/none"], "cannot be written"),
        (["{saved}", "--task=digits", "--output_dir={run}", "--overwrite"], "holds a model.keras"),
        (["{run}", "--task=digits", "--skip_corrupt"], "takes no option 'skip_corrupt'"),
        (["BiT-M-R50x1", "--task=digits"], "has 21843 classes; task 'digits' has 10"),
        (["BiT-M-R50x1", "--task=digits", "--weights=a.npz"], "no weight file a.npz"),
        (["BiT-M-R50x1", "--task=digits", "--weights=vtab/run0/svhn"], "BIT_KERAS_OFFLINE"),
    ],
)
def test_what_is_refused_leaves_nothing(
    arguments, message, run, saved, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("BIT_KERAS_HOME", str(tmp_path / "cache"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    before = {path: path.stat().st_mtime_ns for path in run.output_dir.iterdir()}
    arguments = [argument.format(saved=saved, run=run.output_dir) for argument in arguments]
    assert main(["evaluate", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("bit-keras: ")
    assert message in said
    assert not list(here.iterdir())
    assert {path: path.stat().st_mtime_ns for path in run.output_dir.iterdir()} == before


def test_a_model_with_another_number_of_classes_is_refused(tmp_path):
    tiny(classes=4).save(tmp_path / "four.keras")
    with pytest.raises(ValueError, match=r"gives \(None, 4\); task 'digits' needs"):
        evaluate_saved(tmp_path / "four.keras", "digits", output_dir=tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_another_commands_run_is_never_overwritten(saved, tmp_path):
    directory = tmp_path / "unfinished"
    directory.mkdir()
    (directory / "config.json").write_text('{"command": "finetune"}')
    (directory / "state-40.npz").write_bytes(b"of many hours")
    with pytest.raises(ValueError, match="holds a run of bit-keras finetune"):
        evaluate_saved(saved, "digits", output_dir=directory, overwrite=True)
    assert (directory / "state-40.npz").exists()


@pytest.mark.slow
def test_another_evaluation_is_replaced_only_with_overwrite(task, tmp_path, monkeypatch):
    for name, seed in (("one", 0), ("two", 1)):
        randomize(tiny(input_shape=(32, 32, 3)), seed).save(tmp_path / f"{name}.keras")
    arguments = {"output_dir": tmp_path / "e"}
    first = evaluate_saved(tmp_path / "one.keras", task, **arguments)
    with pytest.raises(ValueError, match="model_sha256 is"):
        evaluate_saved(tmp_path / "two.keras", task, **arguments)
    assert read(tmp_path / "e") == first

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("bit_keras.evaluation.evaluate.predict", stop)
        with pytest.raises(KeyboardInterrupt):
            evaluate_saved(tmp_path / "two.keras", task, overwrite=True, **arguments)
    # No file of the first evaluation stays when the second is interrupted.
    assert os.listdir(tmp_path / "e") == ["config.json"]
    second = evaluate_saved(tmp_path / "two.keras", task, **arguments)
    assert second["test_loss"] != first["test_loss"]
    assert set(os.listdir(tmp_path / "e")) == FILES


def test_the_runs_of_several_seeds_are_never_overwritten(run, tmp_path, capsys):
    shutil.copytree(run.output_dir, tmp_path / "study" / "seed-0")
    arguments = ["evaluate", str(tmp_path / "study" / "seed-0"), "--overwrite"]
    assert main([*arguments, f"--output_dir={tmp_path / 'study'}"]) == 2
    assert "holds the runs of several seeds" in capsys.readouterr().err
    assert (tmp_path / "study" / "seed-0" / "model.keras").exists()


@pytest.mark.slow
def test_a_damaged_record_of_an_evaluation_can_be_overwritten(run, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{")
    arguments = ["evaluate", str(run.output_dir), f"--output_dir={tmp_path}"]
    assert main(arguments) == 2
    assert "is damaged" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert read(tmp_path)["configuration"]["command"] == "evaluate"

"""VTAB-1k studies on fabricated data: files, failures, resuming and refusals."""

import json
import os
import shutil
import signal
import statistics
import sys

import keras
import numpy as np
import pytest
from data.fabricated_tfds import prepare
from networks import shrink

import bit_keras
from bit_keras.cli.main import main
from bit_keras.data.vtab import GROUPS, TASKS
from bit_keras.experiments import repeated_runs
from bit_keras.experiments.vtab import vtab
from bit_keras.models import zoo
from bit_keras.training.callbacks import LearningCurve

BUDGET = {"steps": 2, "batch_size": 2, "resize": 36, "crop": 32}

# The smallest numbers of records that the splits allow.
RECORDS = {
    "svhn": {"train": 2000, "test": 3},
    "dmlab": {"train": 800, "validation": 200, "test": 3},
}


NAME = "BiT-M-R50x1"

pytestmark = pytest.mark.usefixtures("no_drawing", "no_collections")


@pytest.fixture(scope="module", autouse=True)
def stock_create():
    """Replaces the network of `NAME` with random weights by one that is traced in a second.

    Gives `zoo.create` as it was, for tests that need the real network.
    """
    stock = zoo.create

    def create(name, *, pretrained=False, classes=None, **arguments):
        if name != NAME or pretrained is not False:
            return stock(name, pretrained=pretrained, classes=classes, **arguments)
        layers = [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(8, 5, strides=4, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(classes),
        ]
        return keras.Sequential(layers, name=NAME)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "create", create)
        yield stock


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for key, counts in RECORDS.items():
        prepare(TASKS[key].builder, folder, counts)
    return folder


def run(output_dir, data_dir, tasks=("svhn", "dmlab"), **arguments):
    arguments = {"budget": BUDGET, "pretrained": False, "verbose": False, **arguments}
    model = arguments.pop("model", NAME)
    return vtab(model, output_dir=output_dir, data_dir=data_dir, tasks=tasks, **arguments)


@pytest.fixture(scope="module")
def done(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "done"
    return folder, run(folder, data_dir)


@pytest.fixture
def copy(done, tmp_path):
    """The finished study, in a directory of the test's own."""
    return shutil.copytree(done[0], tmp_path / "copy")


def test_the_files_of_a_study(done):
    folder, metrics = done
    assert set(os.listdir(folder)) == {
        "config.json", "metrics.json", "seed-0", "vtab.md", "vtab.png",
    }  # fmt: skip
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert metrics["configuration"]["command"] == "vtab"
    assert metrics["versions"]["keras"] == keras.__version__
    assert metrics["seed"] == [0]
    assert metrics["failures"] == []
    # Two of 19: no score, and no mean of a group, is claimed.
    assert metrics["test_accuracy"] is None
    assert metrics["scores"] == {"0": None}
    assert metrics["groups"] == {group: {"0": None} for group in GROUPS}
    for key in ("svhn", "dmlab"):
        ran = json.loads((folder / "seed-0" / key / "metrics.json").read_text())
        assert ran["configuration"]["task"] == f"vtab/{key}"
        assert ran["configuration"]["rule"]["steps"] == 2
        assert metrics["tasks"]["0"][key] == ran["test_accuracy"]
    table = (folder / "vtab.md").read_text()
    assert "| score | mean of all 19 | 2 of 19 run |" in table
    assert "| svhn |" in table
    assert "caltech101" not in table  # it was not asked for


def test_another_seed_can_be_added_later(copy, data_dir, done):
    metrics = run(copy, data_dir, tasks=["dmlab"], seeds=(0, 1))
    assert metrics["seed"] == [0, 1]
    assert metrics["tasks"]["0"] == {"dmlab": done[1]["tasks"]["0"]["dmlab"]}
    ran = json.loads((copy / "seed-1" / "dmlab" / "metrics.json").read_text())
    assert ran["seed"] == 1
    assert metrics["tasks"]["1"] == {"dmlab": ran["test_accuracy"]}
    assert "seed 0: 1 of 19 run; seed 1: 1 of 19 run" in (copy / "vtab.md").read_text()


def test_each_run_equals_a_single_finetune_run(done, data_dir, tmp_path):
    task = bit_keras.task("vtab/dmlab", data_dir=data_dir)
    alone = bit_keras.finetune(
        NAME, task, pretrained=False, budget=BUDGET, output_dir=tmp_path, verbose=False
    )
    folder, _ = done
    there = keras.models.load_model(folder / "seed-0" / "dmlab" / "model.keras")
    for a, b in zip(there.variables, alone.model.variables, strict=True):
        np.testing.assert_array_equal(a.value, b.value)


def test_a_finished_study_is_returned_and_nothing_is_run(done, monkeypatch, capsys):
    folder, metrics = done
    monkeypatch.setattr(repeated_runs, "finetune", None)
    # A finished study can be read without its data.
    assert run(folder, "/none", verbose=True) == metrics
    assert "No score: 2 of 19 run." in capsys.readouterr().out


def test_a_task_that_fails_is_recorded_and_can_be_run_again(
    data_dir, copy, tmp_path, capsys, monkeypatch
):
    data, folder = shutil.copytree(data_dir, tmp_path / "tfds"), copy
    shutil.rmtree(folder / "seed-0" / "svhn")
    (records,) = data.glob("svhn_cropped/*/svhn_cropped-train.tfrecord*")
    content = records.read_bytes()
    records.write_bytes(content[: len(content) // 2])
    arguments = ["vtab", "--tasks=dmlab,diabetic_retinopathy,svhn", f"--output_dir={folder}"]
    arguments += [f"--{name}={value}" for name, value in BUDGET.items()]
    arguments += [f"--data_dir={data}", f"--model={NAME}", "--weights=none"]
    assert main(arguments) == 1
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["tasks"]["0"].keys() == {"dmlab"}
    svhn, retina = metrics["failures"]
    assert (svhn["task"], svhn["seed"]) == ("svhn", 0)
    assert "DataLoss" in svhn["error"]
    assert "Traceback" in svhn["traceback"]
    assert "kaggle" in retina["error"]
    said = capsys.readouterr().out
    assert "Failed: diabetic_retinopathy, seed 0: FileNotFoundError" in said
    assert "No score: 1 of 19 run." in said
    table = (folder / "vtab.md").read_text()
    assert "| svhn | failed |" in table
    assert "* svhn, seed 0: DataLossError" in table

    records.write_bytes(content)
    made, stock = [], repeated_runs.finetune

    def noted(model, task, **arguments):
        made.append(task.name)
        return stock(model, task, **arguments)

    monkeypatch.setattr(repeated_runs, "finetune", noted)
    again = run(folder, data, tasks=("dmlab", "svhn"))
    assert made == ["vtab/svhn"]
    assert again["failures"] == []
    assert again["tasks"]["0"].keys() == {"dmlab", "svhn"}
    assert again["tasks"]["0"]["dmlab"] == metrics["tasks"]["0"]["dmlab"]


def test_a_loss_that_is_not_finite_is_recorded_as_a_failure(data_dir, tmp_path):
    budget = {**BUDGET, "steps": 4, "base_lr": 1e30}
    metrics = run(tmp_path / "x", data_dir, tasks=["svhn"], budget=budget)
    (failure,) = metrics["failures"]
    assert failure["task"] == "svhn"
    assert "FloatingPointError" in failure["error"]
    assert not (tmp_path / "x" / "vtab.png").exists()  # there is nothing to draw


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_stops_the_study_and_the_same_call_continues_it(
    number, raised, done, copy, data_dir, monkeypatch
):
    """The signal comes while the second of three tasks is trained."""
    shutil.rmtree(copy / "seed-0" / "dmlab")
    stock = LearningCurve.on_train_batch_end

    def on_train_batch_end(self, batch, logs):
        stock(self, batch, logs)
        if self.step == 1:
            signal.raise_signal(number)

    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: lambda *_: sys.exit(143)}
    before = {which: signal.signal(which, handler) for which, handler in handlers.items()}
    try:
        with monkeypatch.context() as patch:
            patch.setattr(LearningCurve, "on_train_batch_end", on_train_batch_end)
            with pytest.raises(raised):
                run(copy, data_dir, tasks=("svhn", "dmlab", "dsprites-xpos"))
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
    assert list((copy / "seed-0" / "dmlab").glob("state-*.npz"))
    assert not (copy / "seed-0" / "dmlab" / "metrics.json").exists()
    assert not (copy / "metrics.json").exists()
    folder, left_alone = done
    assert run(copy, data_dir)["tasks"] == left_alone["tasks"]
    here, there = (
        json.loads((path / "seed-0" / "dmlab" / "metrics.json").read_text())["test_loss"]
        for path in (copy, folder)
    )
    assert here == there


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "BiT-M-R50"}, ValueError, "the nearest name is"),
        ({"model": "BiT-L-R50x1", "pretrained": True}, ValueError, "never released"),
        ({"pretrained": "none.npz"}, FileNotFoundError, r"none\.npz"),
        ({"pretrained": True, "recipe": "papr"}, ValueError, "Did you mean 'paper'"),
        ({"model": "R14x0.5", "pretrained": "none.npz"}, FileNotFoundError, "none.npz"),
        ({"budget": {"crop": 200}}, ValueError, "larger than resize"),
        ({"budget": {"steps": 0}}, ValueError, "steps must be"),
        ({"tasks": ["dmlb"]}, ValueError, "the nearest name is 'dmlab'"),
        ({"tasks": []}, ValueError, "expected a list of tasks"),
        ({"tasks": "dmlab"}, ValueError, "expected a list of tasks"),
        ({"seeds": []}, ValueError, "expected one or more distinct integers"),
        ({"seeds": [-1]}, ValueError, "expected one or more distinct integers"),
        ({"model": keras.Sequential()}, ValueError, "expected a name"),
        ({"output_dir": "/proc/none"}, OSError, "cannot be written"),
    ],
)
def test_an_error_of_every_task_is_raised_before_anything_is_written(
    arguments, error, message, data_dir, tmp_path
):
    arguments = {"output_dir": tmp_path / "run", **arguments}
    with pytest.raises(error, match=message):
        run(data_dir=data_dir, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_directory_of_another_study_is_refused(done, data_dir):
    folder, _ = done
    with pytest.raises(ValueError, match=r"budget\.steps is 2 there and 3 here"):
        run(folder, data_dir, budget={**BUDGET, "steps": 3})
    assert (folder / "metrics.json").exists()


def test_overwrite_removes_only_the_runs(copy, data_dir):
    shutil.copytree(copy / "seed-0" / "svhn", copy / "seed-7" / "svhn")
    (copy / "seed-7" / "svhn" / "thesis.txt").write_text("years of work")
    run(copy, data_dir, tasks=["dmlab"], budget={**BUDGET, "steps": 1}, overwrite=True)
    assert os.listdir(copy / "seed-7" / "svhn") == ["thesis.txt"]
    assert os.listdir(copy / "seed-0") == ["dmlab"]
    metrics = json.loads((copy / "seed-0" / "dmlab" / "metrics.json").read_text())
    assert metrics["configuration"]["rule"]["steps"] == 1


def test_the_run_of_another_task_in_a_directory_is_a_failure_and_stays(copy, data_dir):
    place = copy / "seed-0" / "dmlab"
    shutil.rmtree(place)
    shutil.copytree(copy / "seed-0" / "svhn", place)
    before = (place / "metrics.json").read_bytes()
    metrics = run(copy, data_dir)
    assert metrics["tasks"]["0"].keys() == {"svhn"}
    (failure,) = metrics["failures"]
    assert "belongs to a run of another configuration" in failure["error"]
    assert (place / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("content", ["{", "{}", '{"configuration": null}'])
def test_damaged_metrics_of_a_run_are_a_failure(content, copy, data_dir):
    (copy / "seed-0" / "dmlab" / "metrics.json").write_text(content)
    metrics = run(copy, data_dir)
    assert metrics["tasks"]["0"].keys() == {"svhn"}
    assert [failure["task"] for failure in metrics["failures"]] == ["dmlab"]


def test_the_tasks_start_from_pretrained_weights(
    data_dir, tmp_path, monkeypatch, stock_create, eager
):
    shrink(monkeypatch)
    checkpoint = tmp_path / "weights.npz"
    bit_keras.save_npz(stock_create(NAME, classes=3), checkpoint)
    metrics = run(
        tmp_path / "run", data_dir, model="BiT-M-R50x1", pretrained=checkpoint, tasks=["dmlab"]
    )
    assert metrics["configuration"]["weights"] == str(checkpoint)
    assert metrics["failures"] == []


@pytest.mark.slow
def test_all_nineteen(tmp_path, capsys):
    # Enough for each way of splitting.
    counts = {"train": 2000, "validation": 210, "test": 420}
    for builder in {row.builder for row in TASKS.values()}:
        prepare(builder, tmp_path / "tfds", counts, max_pixel=1 if "dsprites" in builder else 255)
    metrics = run(tmp_path / "study", tmp_path / "tfds", tasks=None, verbose=True)
    assert metrics["failures"] == []
    accuracies = metrics["tasks"]["0"]
    assert list(accuracies) == list(TASKS)
    assert metrics["test_accuracy"] == pytest.approx(statistics.fmean(accuracies.values()))
    assert f"Score: {100 * metrics['test_accuracy']:.2f} (n=1)." in capsys.readouterr().out

"""A trained model is evaluated on the images that are meant, with labels matched by name.

The networks tell grey levels apart without training, so every right pairing has an accuracy of 1.
"""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from level_classes import SIDE, level_folder, level_network, level_task, rule

import bit_keras
from bit_keras.cli.main import main
from bit_keras.data import subsets
from bit_keras.evaluation import evaluate
from bit_keras.evaluation.evaluate import prepare_evaluation, run_evaluation
from bit_keras.evaluation.fitting_task import load_task
from bit_keras.exporters.export_model import export_model
from bit_keras.models.task_record import TaskRecord, record_of
from bit_keras.runs import known_classes
from bit_keras.runs.trained_model import find_model

pytestmark = pytest.mark.usefixtures("no_drawing")

# The folder of the training: the names of its classes do not sort as the levels of their images.
CLASSES = {"ant": 3, "bee": 0, "cat": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run on the folder `home` of 15 images."""
    root = tmp_path_factory.mktemp("trained")
    task = bit_keras.task(level_folder(root / "home", CLASSES))
    network = level_network(list(CLASSES.values()))
    network.run_eagerly = True
    return bit_keras.finetune(
        network, task, rule(task), output_dir=root / "run", save_every=9, verbose=False
    )


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained.output_dir, tmp_path / "run")


@pytest.fixture
def home(trained, tmp_path):
    return trained.output_dir.parent / "home"


def evaluated(model, task=None, **options):
    evaluation = prepare_evaluation(model, task, overwrite=True, **options)
    return run_evaluation(evaluation)[0], " ".join(evaluation.notes)


GENERATE = (Phase.explicit, Phase.reuse, Phase.generate)  # Shrinking would take minutes.

# Pairs of a grey level and a name.
SETS = st.lists(
    st.tuples(st.integers(0, 19), st.text("aBé \n/.0", min_size=1, max_size=3)),
    min_size=2,
    max_size=12,
    unique_by=(lambda pair: pair[0], lambda pair: pair[1]),
)


@settings(max_examples=8, deadline=None, phases=GENERATE)
@given(SETS, st.data())
def test_any_order_and_any_subset_of_the_classes(classes, data):
    places, names = zip(*classes, strict=True)
    network = level_network(places)
    network.run_eagerly = True
    network.class_names = tuple(names)
    others = data.draw(st.permutations(classes))
    others = others[: data.draw(st.integers(1, len(others)))]
    task = level_task([place for place, _ in others], [name for _, name in others], others[0][:1])
    result = bit_keras.evaluate(network, task, rule(task))
    assert result["test_accuracy"] == 1
    tested = {name for name, value in result["per_class_accuracy"].items() if value is not None}
    assert tested == {others[0][1]}


def test_a_run_and_its_model_keep_the_names(trained):
    assert trained.model.class_names == ("ant", "bee", "cat")
    directory = trained.output_dir
    kept = json.loads((directory / "task.json").read_text())
    assert kept["class_names"] == ["ant", "bee", "cat"]
    assert kept["location"] == str(directory.parent / "home")
    assert not kept["several_labels"]
    loaded = keras.models.load_model(directory / "model.keras")
    assert record_of(loaded) == record_of(trained.model) == find_model(directory).record


def test_a_run_of_a_stock_model_keeps_the_names(tmp_path):
    task = bit_keras.task(level_folder(tmp_path / "home", CLASSES))
    network = level_network(list(CLASSES.values()), keras.Model)
    arguments = {"output_dir": tmp_path / "run", "verbose": False}
    bit_keras.finetune(network, task, rule(task), **arguments)
    network.class_names = None
    again = bit_keras.finetune(level_network([3, 0, 2], keras.Model), task, rule(task), **arguments)
    for model in (again.model, find_model(tmp_path / "run").load()):
        assert model.class_names == ("ant", "bee", "cat")


def test_another_folder_is_evaluated_whole_and_by_name(run, tmp_path):
    other = level_folder(tmp_path / "other", {"cat": 2, "bee": 0}, count=4)
    metrics, notes = evaluated(run, other)
    assert (metrics["test_accuracy"], metrics["num_test_examples"]) == (1, 8)
    assert metrics["per_class_accuracy"] == {"ant": None, "bee": 1, "cat": 1}
    assert f"All 8 images of {other} are test images" in notes
    assert "has 2 of the model's 3 classes" in notes
    assert "'bee', 'cat'" in notes


def test_a_task_object_is_evaluated_as_its_name(trained, run, home, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        evaluate.logging, "warning", lambda text, *values: said.append(text % values)
    )
    trained.model.run_eagerly = True
    other = level_folder(tmp_path / "other", CLASSES, count=4)
    for name, count in ((other, 12), (f"folder:{home}", 3)):
        task = bit_keras.task(name)
        results = [bit_keras.evaluate(trained.model, each) for each in (name, task)]
        assert results[0] == results[1]
        assert results[0]["num_test_examples"] == count
        assert said[: len(said) // 2] == said[len(said) // 2 :]
        assert any(str(count) in each for each in said)
        said.clear()
        by_name, by_object = (evaluated(run, each) for each in (name, task))
        assert by_name[0]["num_test_examples"] == by_object[0]["num_test_examples"] == count
        assert by_name[1] == by_object[1]
    # The caller's own choice of test images is kept.
    task = bit_keras.task(other)
    chosen = dataclasses.replace(task, test=subsets.subset(task.whole, np.arange(5)))
    assert bit_keras.evaluate(trained.model, chosen)["num_test_examples"] == 5


def test_without_names_it_is_said_that_the_order_counts(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        evaluate.logging, "warning", lambda text, *values: said.append(text % values)
    )
    network = level_network([3, 0, 2])
    network.run_eagerly = True
    task = level_task([3, 0, 2], ["ant", "bee", "cat"], [3])
    assert bit_keras.evaluate(network, task, rule(task))["test_accuracy"] == 1
    assert f"The names of the classes of {network.name} are not known" in said[0]
    assert f"the classes of {task.name} in their order" in said[0]
    network.class_names = ("ant", "bee", "cat")
    said.clear()
    bit_keras.evaluate(network, task, rule(task))
    assert not said


def test_one_class_and_one_image_are_enough_to_evaluate(run, tmp_path):
    metrics, _ = evaluated(run, level_folder(tmp_path / "other", {"cat": 2}, count=1))
    assert (metrics["test_accuracy"], metrics["num_test_examples"]) == (1, 1)


def test_a_split_folder_is_evaluated_on_its_test_split(run, tmp_path):
    for split, count in (("Training", 2), ("dev", 3), ("TEST", 4)):
        level_folder(tmp_path / "other" / split, CLASSES, count)
    metrics, notes = evaluated(run, f"folder:{tmp_path / 'other'}")
    assert (metrics["test_accuracy"], metrics["num_test_examples"], notes) == (1, 12, "")


def test_names_that_do_not_fit_are_refused(run, tmp_path, capsys):
    other = level_folder(tmp_path / "other", {"bee": 0, "cow": 2})
    assert main(["evaluate", str(run), f"--task={other}"]) == 2
    said = capsys.readouterr().err
    assert "Only the task has: 'cow'. Only the model has: 'ant', 'cat'." in said


@pytest.mark.parametrize("how", ["own", "absolute", "link"])
def test_the_folder_of_the_training_is_evaluated_on_what_was_held_out(
    how, trained, home, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(home)
    task = {"own": [], "absolute": [f"--task=folder:{home}/"], "link": ["--task=folder:link"]}
    assert main(["evaluate", str(trained.output_dir), *task[how], "--output_dir=e"]) == 0
    assert "evaluated on the 3 of 15 images that were held out" in capsys.readouterr().out
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["num_test_examples"] == 3


def test_a_relative_folder_is_found_from_another_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    level_folder(tmp_path / "home", CLASSES)
    record = bit_keras.task("folder:home").record()
    monkeypatch.chdir("/")
    fitting = load_task(None, record, {})
    assert fitting.task.name == "folder:home"
    assert fitting.task.num_test_examples == 3


def test_a_copied_model_knows_the_folder_of_its_training(run, home, tmp_path):
    shutil.copy(run / "model.keras", tmp_path / "copied.keras")
    metrics, notes = evaluated(tmp_path / "copied.keras", f"folder:{home}")
    assert metrics["num_test_examples"] == 3
    assert "held out" in notes


def test_a_moved_folder_is_the_folder_of_the_training(tmp_path):
    name = level_folder(tmp_path / "home", CLASSES)
    record = bit_keras.task(name).record()
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    copied = load_task(f"folder:{tmp_path / 'copy'}", record, {})
    assert copied.task.num_test_examples == 15
    assert "or are copies of them" in copied.notes[-1]
    (tmp_path / "home").rename(tmp_path / "moved")
    moved = load_task(f"folder:{tmp_path / 'moved'}", record, {})
    assert moved.task.num_test_examples == 3


def test_the_training_split_can_be_evaluated_and_this_is_said(tmp_path):
    for split in ("train", "test"):
        level_folder(tmp_path / "home" / split, CLASSES)
    record = bit_keras.task(f"folder:{tmp_path / 'home'}").record()
    inside = load_task(f"folder:{tmp_path / 'home' / 'train'}", record, {})
    assert inside.task.num_test_examples == 15
    assert f"was trained on images of {tmp_path / 'home'}" in inside.notes[-1]
    elsewhere = load_task(level_folder(tmp_path / "other", CLASSES, 6), record, {})
    assert len(elsewhere.notes) == 1


def test_images_that_were_added_are_mentioned(tmp_path):
    name = level_folder(tmp_path / "home", CLASSES)
    record = bit_keras.task(name).record()
    level_folder(tmp_path / "home", CLASSES, count=9)
    assert "have changed since the training" in load_task(name, record, {}).notes[-1]


def test_what_is_not_known_of_a_model_is_said(tmp_path):
    level_network([3, 0, 2]).save(tmp_path / "mine.keras")
    name = level_folder(tmp_path / "home", CLASSES)
    metrics, notes = evaluated(tmp_path / "mine.keras", name, crop=SIDE)
    assert (metrics["test_accuracy"], metrics["num_test_examples"]) == (1, 15)
    assert "It is not known which images the model was trained on" in notes
    assert "names of the classes of mine are not known" in notes


def test_the_options_of_the_training_are_those_of_the_evaluation(tmp_path):
    name = level_folder(tmp_path / "home", CLASSES)
    (tmp_path / "home" / "ant" / "broken.png").write_bytes(b"no image")
    record = bit_keras.task(name, skip_corrupt=True).record()
    assert load_task(None, record, {}).task.num_test_examples == 3
    with pytest.raises(ValueError, match="cannot be decoded"):
        load_task(None, record, {"skip_corrupt": False})


def test_a_run_with_several_labels_needs_a_task():
    record = TaskRecord(("a", "b"), "tfds:made", several_labels=True)
    with pytest.raises(ValueError, match="several labels"):
        load_task(None, record, {})


def test_a_renamed_class_does_not_change_an_export(run, home, tmp_path, capsys):
    (run.parent / "home").mkdir()
    kept = json.loads((run / "task.json").read_text())
    kept["name"] = kept["location"] = f"folder:{tmp_path / 'home'}"
    (run / "task.json").write_text(json.dumps(kept))
    level_folder(tmp_path / "home", {"zebra": 3, "bee": 0, "cat": 2})
    export_model(run, "saved_model", output=tmp_path / "out")
    names = (tmp_path / "out" / "assets" / "class_names.txt").read_text().split()
    assert names == ["ant", "bee", "cat"]


def test_an_export_of_a_model_in_memory_serves_its_names(trained, tmp_path):
    bit_keras.export_saved_model(trained.model, tmp_path / "out")
    served = tf.saved_model.load(str(tmp_path / "out")).signatures["serving_bytes"]
    grey = tf.io.encode_png(tf.fill((SIDE, SIDE, 3), tf.constant(12 * 3 + 6, tf.uint8)))
    assert served(grey[None])["names"][0, 0].numpy() == b"ant"


def test_images_have_the_size_of_the_training_wherever_the_model_is(
    trained, home, tmp_path, monkeypatch
):
    task, copied = f"folder:{home}", tmp_path / "copied.keras"
    shutil.copy(trained.output_dir / "model.keras", copied)
    for model in (trained.output_dir, copied):
        assert prepare_evaluation(model, task, output_dir=tmp_path / "e").crop == SIDE
    sizes, predict = [], evaluate.predict
    monkeypatch.setattr(evaluate, "predict", lambda *args: sizes.append(args[-1]) or predict(*args))
    loaded = keras.models.load_model(copied)
    for model in (trained.model, loaded):
        bit_keras.evaluate(model, task)
    assert sizes == [SIDE, SIDE]
    export_model(copied, "saved_model", output=tmp_path / "of_file")
    bit_keras.export_saved_model(loaded, tmp_path / "of_model")
    for path in (tmp_path / "of_file", tmp_path / "of_model"):
        description = json.loads((path / "assets" / "bit_keras.json").read_text())
        assert description["serving_bytes_size"] == [SIDE, SIDE]


def as_of_an_earlier_version(run, **changes):
    (run / "task.json").unlink()
    config = {**json.loads((run / "config.json").read_text()), **changes}
    (run / "config.json").write_text(json.dumps(config))
    return run


def test_a_run_of_an_earlier_version_is_matched_if_its_task_is_as_it_was(run, tmp_path):
    old = as_of_an_earlier_version(run)
    other = level_folder(tmp_path / "other", {"cat": 2, "bee": 0})
    assert evaluated(old, other)[0]["test_accuracy"] == 1
    assert find_model(old).class_names == ("ant", "bee", "cat")


def test_a_run_of_an_earlier_version_is_refused_if_its_names_are_lost(run, tmp_path, capsys):
    old = as_of_an_earlier_version(run, task=level_folder(tmp_path / "other", {"b": 0, "c": 2}))
    with pytest.raises(ValueError, match=r"names are not known.*set model\.class_names"):
        evaluated(old)
    export_model(old, "saved_model", output=tmp_path / "out")
    assert "numbers for names" in capsys.readouterr().out


def test_a_weight_file_of_a_run_has_the_names_of_the_run(run):
    (run / "weights.npz").touch()
    assert find_model("R14x0.5", str(run / "weights.npz")).record.class_names[0] == "ant"
    shutil.move(run / "weights.npz", run.parent / "weights.npz")
    assert find_model("R14x0.5", str(run.parent / "weights.npz")).record is None


def test_a_published_checkpoint_is_matched_by_wordnet_ids(monkeypatch):
    ids = [f"n{number:08}" for number in range(1000)]
    monkeypatch.setattr(known_classes, "class_names", lambda classes: (ids, ids))
    source = find_model("BiT-M-R50x1", "ilsvrc2012")
    task = level_task([0, 1], [ids[7], ids[3]], [0, 1])
    fitting = evaluate._fitting_task(source, "BiT-M-R50x1", task, {})
    assert list(fitting.task.test.labels) == [7, 3]
    assert "2 of the model's 1000 classes" in fitting.notes[0]
    other = level_task([0, 1], [ids[7], "goldfish"], [0, 1])
    with pytest.raises(ValueError, match="Only the task has: 'goldfish'"):
        evaluate._fitting_task(source, "BiT-M-R50x1", other, {})


def test_names_of_another_number_than_the_logits_are_refused():
    network = level_network([0, 1])
    network.class_names = ("a", "b", "c")
    with pytest.raises(ValueError, match="3 class_names"):
        record_of(network)


def test_labels_of_a_matched_task_are_read_from_a_stream(trained):
    task = level_task([2, 3], ["cat", "ant"], [3, 2, 3])
    names = trained.model.class_names
    from bit_keras.data.class_names import matched

    assert list(subsets.read_labels(matched(task, names, "m").test)) == [0, 2, 0]

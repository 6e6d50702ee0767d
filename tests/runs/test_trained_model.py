"""What a path or a name means as a model, and the refusal of bad files in one sentence."""

import dataclasses
import json
import zipfile

import keras
import numpy as np
import pytest
from networks import quick, randomize, shrink, tiny

import bit_keras
from bit_keras.models.task_record import TaskRecord, remember
from bit_keras.runs import run_directory
from bit_keras.runs.trained_model import SavedModel, find_model


@pytest.fixture
def run(tmp_path):
    """The directory of a finished run, its model a file of three bytes."""
    directory = tmp_path / "my run"
    directory.mkdir()
    configuration = {
        "command": "finetune",
        "model": "BiT-M-R50x1",
        "task": "digits",
        "rule": {"crop": 32},
    }
    run_directory.write_json(directory / run_directory.CONFIG, configuration)
    run_directory.write_json(directory / run_directory.METRICS, {"test_accuracy": 1.0})
    (directory / run_directory.MODEL).write_bytes(b"PK?")
    return directory


def test_a_run_and_its_model_file_mean_the_same_model(run):
    for found in (find_model(run), find_model(str(run / "model.keras"))):
        assert found == SavedModel(run / "model.keras", "my run", "BiT-M-R50x1", "saved")
        assert (found.task, found.crop, found.background) == ("digits", 32, "white")


def test_a_keras_file_outside_a_run(run):
    other = run / "other.keras"
    other.write_bytes(b"")
    assert find_model(other) == SavedModel(other, "other")


def test_an_earlier_run_keeps_its_background_in_its_configuration(run):
    configuration = run_directory.read_json(run / run_directory.CONFIG)
    configuration["background"] = "#808080"
    run_directory.write_json(run / run_directory.CONFIG, configuration)
    assert find_model(run).background == "#808080"
    # Its task.json did not name the colour.
    run_directory.write_json(run / run_directory.TASK, {"name": "digits", "class_names": ["a"]})
    assert find_model(run).background == "#808080"


def test_the_weights_of_a_run_keep_how_its_images_were_read(run):
    task = dataclasses.replace(bit_keras.task("digits"), background=(128, 128, 128))
    record = dataclasses.replace(task.record(), crop=48)
    run_directory.write_json(run / run_directory.TASK, record.plain())
    found = find_model("BiT-M-R50x1", run / "weights.npz")
    assert (found.task, found.crop, found.background) == ("digits", 48, "#808080")
    assert found.class_names == task.class_names


def test_a_keras_file_outside_a_run_keeps_how_its_images_were_read(tmp_path):
    model = quick(classes=2)
    record = TaskRecord(("ant", "bee"), "mine", options={"background": "grey"}, crop=48)
    remember(model, record)
    model.save(tmp_path / "copied.keras")
    found = find_model(tmp_path / "copied.keras")
    assert (found.crop, found.background, found.class_names) == (48, "grey", ("ant", "bee"))
    assert found.task == "mine"


def test_an_npz_file_of_a_run_keeps_how_its_images_were_read(run):
    record = TaskRecord(("ant", "bee"), options={"background": "grey"}, crop=48)
    run_directory.write_json(run / run_directory.TASK, record.plain())
    found = find_model("BiT-M-R50x1", run / run_directory.WEIGHTS)
    assert (found.crop, found.background) == (48, "grey")
    assert find_model("BiT-M-R50x1", run / "other.npz").background == "white"


def test_a_name_means_a_zoo_model_with_its_checkpoint():
    found = find_model("BiT-M-R152x4", "ilsvrc2012")
    assert (found.label, found.classes, found.crop) == ("BiT-M-R152x4-ilsvrc2012", 1000, 480)
    assert find_model("BiT-S-R50x1").weights == "upstream"
    mine = find_model("BiT-M-R50x1", "/my files/mine.npz")
    assert (mine.label, mine.classes, mine.crop) == ("BiT-M-R50x1-mine", None, None)


@pytest.mark.parametrize(
    ("model", "weights", "error", "message"),
    [
        ("BiT-M-R50", None, FileNotFoundError, "nearest name is 'BiT-M-R50x1'"),
        ("none.keras", None, FileNotFoundError, "There is no model none.keras"),
        ("{run}", "ilsvrc2012", ValueError, "which has its own"),
        ("{run}/config.json", None, ValueError, "is not a .keras file. Expected"),
        ("{run}/a.npz", None, ValueError, "Give the name of its network"),
        ("{run}/empty", None, ValueError, "holds no config.json"),
    ],
)
def test_a_path_that_is_not_a_model_is_refused(model, weights, error, message, run):
    (run / "a.npz").touch()
    (run / "empty").mkdir()
    with pytest.raises(error, match=message):
        find_model(model.format(run=run), weights)


def test_a_run_that_has_not_ended_is_refused(run):
    (run / "metrics.json").unlink()
    for model in (run, run / "model.keras"):
        with pytest.raises(ValueError, match=r"has not ended.*Finish it first"):
            find_model(model)


def test_a_run_without_a_model_is_refused(run):
    (run / "model.keras").unlink()
    with pytest.raises(ValueError, match=r"is a run of bit-keras finetune without a model\.keras"):
        find_model(run)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.keras"
    randomize(tiny()).save(path)
    return path


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        find_model(path).load()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_keras_file_is_loaded(saved):
    model = find_model(saved).load()
    assert type(model) is bit_keras.ResNetV2
    assert model.output_shape == (None, 10)


def test_code_in_a_file_is_never_run(tmp_path):
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1)(inputs)).save(tmp_path / "code.keras")
    refused(tmp_path / "code.keras", "would run code from the file")


def test_a_custom_class_is_refused(tmp_path):
    class Own(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, Own()(inputs)).save(tmp_path / "own.keras")
    refused(tmp_path / "own.keras", "Could not locate class 'Own'")


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_refused(kept, saved, tmp_path):
    content = saved.read_bytes()
    kept = kept if isinstance(kept, int) else int(kept * len(content))
    (tmp_path / "cut.keras").write_bytes(content[:kept])
    refused(tmp_path / "cut.keras", "not a zip archive")


def test_a_file_with_a_changed_byte_is_refused(saved, tmp_path, rounds):
    content = saved.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), rounds(few=5, full=300)):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        (tmp_path / "changed.keras").write_bytes(changed)
        refused(tmp_path / "changed.keras", "damaged|BadZipFile")


@pytest.mark.parametrize("part", ["config.json", "model.weights.h5"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\xff\xfe"])
def test_an_archive_with_a_wrong_member_is_refused(part, content, saved, tmp_path):
    with (
        zipfile.ZipFile(saved) as old,
        zipfile.ZipFile(tmp_path / "odd.keras", "w") as new,
    ):
        for name in old.namelist():
            if name != part:
                new.writestr(name, old.read(name))
        if content is not None:
            new.writestr(part, content)
    refused(tmp_path / "odd.keras", "cannot be loaded")


def test_a_lack_of_memory_is_not_reported_as_damage(saved, monkeypatch):
    def run_out(*_, **__):
        try:
            raise MemoryError
        except MemoryError as error:
            raise TypeError("could not be deserialized properly") from error

    monkeypatch.setattr(keras.saving, "load_model", run_out)
    with pytest.raises(TypeError, match="properly"):
        find_model(saved).load()


def test_a_zoo_model_loads_an_npz_file(tmp_path, monkeypatch):
    shrink(monkeypatch)
    bit_keras.save_npz(randomize(tiny(classes=7)), tmp_path / "mine.npz")
    source = find_model("BiT-M-R50x1", str(tmp_path / "mine.npz"))
    assert source.load().output_shape == (None, 7)
    assert source.file == tmp_path / "mine.npz"


def test_a_module_that_a_file_names_is_not_imported(saved, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    with (
        zipfile.ZipFile(saved) as old,
        zipfile.ZipFile(tmp_path / "evil.keras", "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                config |= {"module": "evil_module", "class_name": "X", "registered_name": None}
                content = json.dumps(config).encode()
            new.writestr(name, content)
    refused(tmp_path / "evil.keras", "cannot be loaded")


def changed_config(saved, path, change):
    """Writes a copy of a .keras file whose config.json is changed."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name == "config.json" else content)
    return path


@pytest.mark.parametrize(
    "argument",
    [
        {"depths": [10**6, 1, 1, 1]},
        {"depths": [1, 1, 1, 10**9]},
        {"width": 10**7},
        {"classes": 10**13},
        {"input_shape": [None, None, 10**12]},
        {"changed_layers": {"head_conv2d": {"config": {"units": -1}}}},
        {"changed_layers": 7},
    ],
)
def test_a_file_of_a_network_that_cannot_be_built(argument, tmp_path):
    tiny().save(tmp_path / "tiny.keras")

    def change(content):
        config = json.loads(content)
        config["config"] |= argument
        return json.dumps(config)

    refused(
        changed_config(tmp_path / "tiny.keras", tmp_path / "odd.keras", change), "cannot be loaded"
    )


def test_a_file_of_json_that_is_nested_deep(saved, tmp_path):
    nested = "[" * 100_000 + "]" * 100_000
    path = changed_config(saved, tmp_path / "deep.keras", lambda _: nested)
    refused(path, "cannot be loaded")


def test_a_small_file_that_inflates_is_refused_unread(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(10**7))
    refused(tmp_path / "bomb.keras", "cannot be loaded .its members hold 10000000 bytes")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b'{"class_names": [1]}', b'{"name": 5}', b'{"options": []}'),
        *(b'{"background": 1}', b'{"source": {}}', b'{"crop": 0}'),
    ],
)
def test_a_damaged_record_of_a_task_is_refused(run, content):
    (run / "task.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"task\.json is damaged .*Copy the file again") as error:
        find_model(run)
    assert str(error.value).count("task.json") == 1
    assert "overwrite" not in str(error.value)


def test_a_damaged_configuration_is_copied_again(run):
    (run / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged .*Copy the file again") as error:
        find_model(run)
    assert "overwrite" not in str(error.value)


def test_entries_of_other_versions_are_ignored(run):
    # Earlier versions wrote "flip", which nothing read.
    (run / "task.json").write_text('{"class_names": ["a"], "flip": true, "later": 1}')
    assert find_model(run).class_names == ("a",)

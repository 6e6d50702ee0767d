"""Where a model lies, and that a bad file is refused in one sentence."""

import json
import zipfile

import keras
import numpy as np
import pytest
from networks import randomize, shrink, tiny

import bit_keras
from bit_keras.studies.model_source import SavedModel, find_model
from bit_keras.training import run_directory


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


def test_a_run_and_its_file_are_the_same(run):
    for found in (find_model(run), find_model(str(run / "model.keras"))):
        assert found == SavedModel(
            run / "model.keras", "my run", "BiT-M-R50x1", "saved", "digits", 32
        )


def test_a_file_of_no_run(run):
    other = run / "other.keras"
    other.write_bytes(b"")
    assert find_model(other) == SavedModel(other, "other")


def test_a_name_of_the_zoo():
    found = find_model("BiT-M-R152x4", "ilsvrc2012")
    assert (found.label, found.classes, found.crop) == ("BiT-M-R152x4-ilsvrc2012", 1000, 480)
    assert find_model("BiT-S-R50x1").weights == "upstream"
    mine = find_model("BiT-M-R50x1", "/my files/mine.npz")
    assert (mine.label, mine.classes, mine.crop) == ("BiT-M-R50x1-mine", None, None)


@pytest.mark.parametrize(
    ("model", "weights", "error", "message"),
    [
        ("BiT-M-R50", None, FileNotFoundError, "'BiT-M-R50x1' is the nearest"),
        ("none.keras", None, FileNotFoundError, "There is no model none.keras"),
        ("{run}", "ilsvrc2012", ValueError, "which has its own"),
        ("{run}/config.json", None, ValueError, "is no .keras file. Expected"),
        ("{run}/a.npz", None, ValueError, "Name the network that it belongs to"),
        ("{run}/empty", None, ValueError, "holds no config.json"),
    ],
)
def test_what_is_no_model(model, weights, error, message, run):
    (run / "a.npz").touch()
    (run / "empty").mkdir()
    with pytest.raises(error, match=message):
        find_model(model.format(run=run), weights)


def test_a_run_that_has_not_ended(run):
    (run / "metrics.json").unlink()
    for model in (run, run / "model.keras"):
        with pytest.raises(ValueError, match=r"has not ended.*Run it to its end first"):
            find_model(model)


def test_a_run_that_trains_no_model(run):
    (run / "model.keras").unlink()
    with pytest.raises(ValueError, match=r"holds no model\.keras but a run of bit-keras finetune"):
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


def test_a_file_is_loaded(saved):
    model = find_model(saved).load()
    assert type(model) is bit_keras.ResNetV2
    assert model.output_shape == (None, 10)


def test_code_in_a_file_is_never_run(tmp_path):
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1)(inputs)).save(tmp_path / "code.keras")
    refused(tmp_path / "code.keras", "would run code from the file")


def test_a_class_of_somebodys_own(tmp_path):
    class Own(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, Own()(inputs)).save(tmp_path / "own.keras")
    refused(tmp_path / "own.keras", "Could not locate class 'Own'")


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.999])
def test_a_file_that_was_cut_off(kept, saved, tmp_path):
    content = saved.read_bytes()
    kept = kept if isinstance(kept, int) else int(kept * len(content))
    (tmp_path / "cut.keras").write_bytes(content[:kept])
    refused(tmp_path / "cut.keras", "no zip archive")


def test_a_file_in_which_a_byte_changed(saved, tmp_path, rounds):
    content = saved.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), rounds(few=5, full=300)):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        (tmp_path / "changed.keras").write_bytes(changed)
        refused(tmp_path / "changed.keras", "damaged|BadZipFile")


@pytest.mark.parametrize("part", ["config.json", "model.weights.h5"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\xff\xfe"])
def test_an_archive_with_a_part_that_is_not_what_it_should_be(part, content, saved, tmp_path):
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


def test_a_lack_of_memory_is_no_damage(saved, monkeypatch):
    def run_out(*_, **__):
        try:
            raise MemoryError
        except MemoryError as error:
            raise TypeError("could not be deserialized properly") from error

    monkeypatch.setattr(keras.saving, "load_model", run_out)
    with pytest.raises(TypeError, match="properly"):
        find_model(saved).load()


def test_weights_of_an_official_file(tmp_path, monkeypatch):
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

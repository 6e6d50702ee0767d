"""Files of other formats: the model's numbers at every size, and nothing left of a wrong one."""

import dataclasses
import sys

import keras
import numpy as np
import pytest
from exporters import converters
from marked import slow_except
from networks import images, randomize, tiny
from reference import relative_error

import bit_keras
from bit_keras.exporters import convert as convert_module
from bit_keras.exporters.convert import convert
from bit_keras.exporters.engines import engine_of, load
from bit_keras.exporters.formats import FORMATS

CONVERTED = ["litert", "litert_int8", "onnx", "openvino"]
SIZES = ((1, 224, 224, 3), (5, 97, 131, 3), (2, 33, 64, 3))


@pytest.fixture(scope="module")
def model():
    return randomize(tiny(name="tiny"))


def left(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.peer
@pytest.mark.parametrize("name", CONVERTED)
def test_the_numbers_are_the_models(model, tmp_path, name):
    path = tmp_path / f"file{FORMATS[name].suffix}"
    agreement = convert(model, path, name, input_range=(0, 255))
    run = load(path)
    errors = []
    for shape in SIZES:
        batch = images(*shape, seed=3)
        value = run(127.5 * (batch + 1))
        assert value.dtype == np.float32
        errors.append(relative_error(value, model.predict_on_batch(batch)))
    assert max(errors) < (0.06 if name == "litert_int8" else 1e-4)
    assert (max(errors) > 1e-3) == (name == "litert_int8")  # so that its weights really are int8
    assert agreement.error <= agreement.bound == FORMATS[name].bound
    assert agreement.images == 6
    assert left(tmp_path) == sorted([path.name, *(["file.bin"] if name == "openvino" else [])])


@pytest.mark.peer
@pytest.mark.parametrize("side", [16, 32, 48])
@pytest.mark.parametrize("name", ["litert", "onnx", "openvino"])
def test_small_images_of_a_fixed_size(name, side, tmp_path):
    network = randomize(tiny(input_shape=(side, side, 3)))
    path = tmp_path / f"file{FORMATS[name].suffix}"
    convert(network, path, name)
    batch = images(3, side, side, 3)
    assert relative_error(load(path)((batch + 1) / 2), network.predict_on_batch(batch)) < 1e-4


@pytest.mark.peer
def test_int8_is_a_quarter_of_the_size_and_sees_the_same_class(model, tmp_path):
    convert(model, tmp_path / "file.tflite", "litert_int8")
    assert (tmp_path / "file.tflite").stat().st_size < 0.3 * 4 * model.count_params()
    batch = images(16, 64, 64, 3)
    expected = model.predict_on_batch(batch)
    value = load(tmp_path / "file.tflite")((batch + 1) / 2)
    rows = np.arange(16)
    # Where it sees another class, the two were as near to each other as its error is large.
    lost = expected.max(1) - expected[rows, value.argmax(1)]
    assert (lost <= 2 * np.abs(value - expected).max()).all()
    assert (value.argmax(1) == expected.argmax(1)).mean() >= 0.7


@pytest.mark.parametrize("name", slow_except(["npz"], ["keras", "npz"]))
def test_files_of_the_network_itself(model, tmp_path, name):
    path = tmp_path / f"file{FORMATS[name].suffix}"
    assert convert(model, path, name).error < 1e-5
    batch = images(2, 45, 70, 3)
    assert relative_error(load(path)(batch), model.predict_on_batch(batch)) < 1e-5
    assert left(tmp_path) == [path.name]


@pytest.mark.slow
def test_a_network_without_head_as_npz(tmp_path):
    network = randomize(tiny(include_top=False))
    assert convert(network, tmp_path / "file.npz", "npz").error < 1e-5


def test_a_head_that_was_never_trained(tmp_path):
    assert convert(tiny(), tmp_path / "file.keras", "keras").error == 0


@pytest.mark.slow
def test_what_npz_would_lose_is_refused(tmp_path):
    network = randomize(tiny())
    doubled = bit_keras.Model(network.input, 2 * network.output, name="doubled")
    with pytest.raises(RuntimeError, match=r"'doubled' differs from the model: error 5\.0e-01"):
        convert(doubled, tmp_path / "file.npz", "npz")
    assert left(tmp_path) == []


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "float16"])
@pytest.mark.parametrize("name", ["litert", "litert_int8", "onnx", "openvino"])
def test_half_precision_is_refused(tmp_path, name, dtype, monkeypatch):
    # The libraries of the formats are not needed to refuse a model.
    monkeypatch.setattr(convert_module, "library", lambda name: None)
    body = tiny(dtype=dtype)
    for network in (body, bit_keras.Model(body.input, body.output, name="around")):
        with pytest.raises(ValueError, match=r"compute in half precision.*dtype='float32'"):
            convert(network, tmp_path / f"file{FORMATS[name].suffix}", name)
    assert left(tmp_path) == []


@pytest.fixture
def wrong(model, monkeypatch):
    """ "keras" writes another model's file."""

    def write(source, path):
        randomize(tiny(), seed=1).save(path)

    row = dataclasses.replace(FORMATS["keras"], write=write)
    monkeypatch.setitem(FORMATS, "keras", row)


@pytest.mark.slow
@pytest.mark.usefixtures("wrong")
def test_a_wrong_file_is_refused(model, tmp_path):
    path = tmp_path / "file.keras"
    path.write_text("the earlier one")
    with pytest.raises(RuntimeError, match=r"'tiny' differs from the model.*do not keep"):
        convert(model, path, "keras", overwrite=True)
    assert path.read_text() == "the earlier one"
    assert left(tmp_path) == ["file.keras"]


@pytest.mark.peer
def test_a_wrong_openvino_file_leaves_both_of_the_earlier_one(model, tmp_path, monkeypatch):
    row = dataclasses.replace(FORMATS["openvino"], write=converters.write_another_model)
    monkeypatch.setitem(FORMATS, "openvino", row)
    for name in ("file.xml", "file.bin"):
        (tmp_path / name).write_text("the earlier one")
    with pytest.raises(RuntimeError, match="differs from the model"):
        convert(model, tmp_path / "file.xml", "openvino", overwrite=True)
    assert left(tmp_path) == ["file.bin", "file.xml"]
    assert {(tmp_path / name).read_text() for name in left(tmp_path)} == {"the earlier one"}


def test_a_failing_library_is_one_sentence(model, tmp_path, monkeypatch):
    def write(source, path):
        path.write_text("half")
        raise TypeError("no such operation\nand a page more")

    monkeypatch.setitem(FORMATS, "keras", dataclasses.replace(FORMATS["keras"], write=write))
    with pytest.raises(ValueError, match=r"cannot be written as Keras: no such operation$"):
        convert(model, tmp_path / "file.keras", "keras")
    assert left(tmp_path) == []


@pytest.fixture
def in_process(monkeypatch):
    """Replaces the converter of ONNX by another one, and the export that it starts from by none."""

    def replace(write):
        row = dataclasses.replace(
            FORMATS["onnx"], write=write, source=lambda _, folder, **__: folder
        )
        monkeypatch.setitem(FORMATS, "onnx", row)
        monkeypatch.setattr(convert_module, "library", lambda name: None)

    return replace


@pytest.mark.parametrize(
    ("write", "kind", "message"),
    [
        (converters.abort, RuntimeError, "The conversion of 'tiny' to ONNX failed: .* SIGABRT"),
        (converters.raise_error, ValueError, "cannot be written as ONNX: no such operation$"),
    ],
)
def test_a_converter_that_fails_in_its_process(write, kind, message, model, tmp_path, in_process):
    in_process(write)
    (tmp_path / "file.onnx").write_text("the earlier one")
    with pytest.raises(kind, match=message):
        convert(model, tmp_path / "file.onnx", "onnx", overwrite=True)
    assert (tmp_path / "file.onnx").read_text() == "the earlier one"
    assert left(tmp_path) == ["file.onnx"]


@pytest.mark.parametrize("name", CONVERTED)
def test_a_missing_library(model, tmp_path, monkeypatch, name):
    for library in FORMATS[name].libraries:
        monkeypatch.setitem(sys.modules, library.partition(".")[0], None)
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r'pip install "bit_keras\[convert\]"'):
        convert(model, tmp_path / f"file{FORMATS[name].suffix}", name)
    assert left(tmp_path) == []


def test_what_is_there_is_not_replaced(model, tmp_path, monkeypatch):
    (tmp_path / "file.keras").write_text("mine")
    with pytest.raises(FileExistsError):
        convert(model, tmp_path / "file.keras", "keras")
    monkeypatch.setattr(convert_module, "library", lambda name: None)
    (tmp_path / "file.bin").write_text("mine")
    with pytest.raises(FileExistsError, match=r"file\.bin"):
        convert(model, tmp_path / "file.xml", "openvino")
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(IsADirectoryError):
        convert(model, tmp_path / "folder.keras", "keras", overwrite=True)
    with pytest.raises(FileNotFoundError):
        convert(model, tmp_path / "none" / "file.keras", "keras")
    with pytest.raises(ValueError, match=r"ends in \.keras"):
        convert(model, tmp_path / "file.h5", "keras")


def test_too_large_for_a_format(model, tmp_path, monkeypatch):
    monkeypatch.setattr(convert_module, "library", lambda name: None)
    row = dataclasses.replace(FORMATS["onnx"], largest=4 * model.count_params() - 1)
    monkeypatch.setitem(FORMATS, "onnx", row)
    with pytest.raises(ValueError, match="GiB of weights, and a ONNX file"):
        convert(model, tmp_path / "file.onnx", "onnx")


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no model"):
        engine_of(tmp_path / "none.onnx")
    (tmp_path / "file.npz").write_text("none")
    with pytest.raises(bit_keras.CheckpointError):
        load(tmp_path / "file.npz")


def test_a_saved_model_of_somebody_else(model, tmp_path):
    inputs = keras.Input((None, None, 3))
    other = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    other.export(tmp_path / "other", verbose=False)
    batch = images(2, 8, 9, 3)
    np.testing.assert_allclose(load(tmp_path / "other")(batch), batch.mean((1, 2)), atol=1e-6)

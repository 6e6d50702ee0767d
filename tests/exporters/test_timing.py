"""`bit-keras time`: a row for each file, processes that end, and mistakes in one line."""

import multiprocessing
import time

import pytest
from networks import randomize, tiny

import bit_keras
from bit_keras.cli.main import main
from bit_keras.exporters import timing


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timed")
    model = randomize(tiny())
    model.save(folder / "model.keras")
    bit_keras.save_npz(model, folder / "model.npz")
    return folder


@pytest.mark.slow
def test_two_files_side_by_side(folder, capsys):
    files = [str(folder / name) for name in ("model.keras", "model.npz")]
    assert main(["time", *files, "--batch_size=2", "--image_size=32"]) == 0
    said = capsys.readouterr().out
    assert "32 x 32 images" in said
    assert "threads" in said
    assert "batch 1, ms" in said
    assert "batch 2, ms" in said
    for file in files:
        (row,) = [line for line in said.splitlines() if file in line]
        _, engine, one, ratio, many, _ = [cell.strip() for cell in row.strip("│").split("│")]
        assert engine == "Keras"
        assert float(one) > 0
        assert float(many) > 0
        assert float(ratio) == 1 or file == files[1]
    assert not multiprocessing.active_children()


def test_the_ratios_are_of_neighbours_in_time():
    """One that takes twice as long, on a machine whose speed changes from round to round."""
    rounds = [[load, 2 * load] for load in (0.01, 0.05, 0.02)]
    assert timing._cells(rounds, 0) == ("20.0", "1.00")
    assert timing._cells(rounds, 1) == ("40.0", "2.00")


def test_a_large_network_stops_early(monkeypatch):
    class Slow:
        calls = 0

        def seconds(self, shape):
            self.calls += 1
            time.sleep(0.01)
            return [0.01]

    monkeypatch.setattr(timing, "_SECONDS", 0.001)
    slow = Slow()
    assert len(timing._rounds(slow, (1, 8, 8, 3))) == timing._FEWEST
    assert slow.calls == timing._FEWEST + timing._WARM_UP


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "time needs the argument PATH"),
        (["none.tflite"], "There is no model none.tflite"),
        (["{}/model.keras", "--batch_size=0"], "batch_size must be an integer"),
        (["{}/model.keras", "--image_size=-1"], "image_size must be an integer"),
    ],
)
def test_refused(folder, capsys, arguments, message):
    assert main(["time", *(argument.format(folder) for argument in arguments)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_damaged_file_is_named(folder, capsys):
    (folder / "damaged.keras").write_bytes(b"PK")
    assert main(["time", str(folder / "damaged.keras")]) == 2
    assert "damaged.keras cannot be loaded" in capsys.readouterr().err


@pytest.mark.slow
def test_a_size_that_the_model_does_not_take(folder, capsys):
    randomize(tiny(input_shape=(32, 32, 3))).save(folder / "fixed.keras")
    assert main(["time", str(folder / "fixed.keras"), "--image_size=48"]) == 2
    assert "does not run on 1 images of 48 x 48" in capsys.readouterr().err

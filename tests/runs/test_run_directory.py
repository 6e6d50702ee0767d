"""The directory of a run belongs to one configuration."""

import os

import numpy as np
import pytest

from bit_keras.runs.run_directory import (
    METRICS,
    SEEDS,
    claim,
    plain,
    read_json,
    seed_run,
    versions,
    write_json,
)
from bit_keras.utils.atomic_file import atomic_write

CONFIGURATION = {"model": "R14x0.5", "seed": 0, "rule": {"steps": 300, "boundaries": [1, 2]}}


def test_claim_makes_a_new_directory(tmp_path):
    assert claim(tmp_path / "a" / "b", CONFIGURATION, overwrite=False) is None
    assert (tmp_path / "a" / "b" / "config.json").exists()


def test_an_unfinished_run_starts_again_and_a_finished_one_is_returned(tmp_path):
    claim(tmp_path, CONFIGURATION, overwrite=False)
    assert claim(tmp_path, CONFIGURATION, overwrite=False) is None
    write_json(tmp_path / METRICS, {"test_accuracy": 0.5})
    assert claim(tmp_path, CONFIGURATION, overwrite=False) == {"test_accuracy": 0.5}


def test_another_configuration_is_refused_with_the_differences(tmp_path):
    claim(tmp_path, CONFIGURATION, overwrite=False)
    other = {**CONFIGURATION, "rule": {"steps": 301, "boundaries": [1, 2]}}
    with pytest.raises(ValueError, match=r"configuration: rule\.steps is 300 there and 301 here\."):
        claim(tmp_path, other, overwrite=False)
    assert claim(tmp_path, other, overwrite=True) is None
    assert claim(tmp_path, other, overwrite=False) is None


def test_an_entry_that_was_left_out_is_named_as_such(tmp_path):
    claim(tmp_path, {"seed": 0, "budget": {"steps": 4}}, overwrite=False)
    with pytest.raises(ValueError, match="configuration: ") as error:
        claim(tmp_path, {"seed": 0, "budget": {}, "temperature": 1.0}, overwrite=False)
    assert (
        "configuration: budget.steps is 4 there and not given here; "
        "temperature is not given there and 1.0 here." in str(error.value)
    )


def test_overwrite_removes_a_run_and_nothing_else(tmp_path):
    claim(tmp_path, CONFIGURATION, overwrite=False)
    write_json(tmp_path / METRICS, {})
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events").write_text("x")
    for name in ("state-40.npz", "state-50.npz.damaged", "thesis.txt", "state-of-art.npz"):
        (tmp_path / name).write_text("years of work")
    claim(tmp_path, CONFIGURATION, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "state-of-art.npz", "thesis.txt"]


def test_half_written_files_of_a_killed_process_are_removed(tmp_path):
    claim(tmp_path, CONFIGURATION, overwrite=False)

    def write_half():
        with atomic_write(tmp_path / "state-40.npz") as temporary:
            temporary.write_text("half")
            (tmp_path / "half").hardlink_to(temporary)  # as if the process had ended here
            raise InterruptedError(temporary.name)

    with pytest.raises(InterruptedError) as raised:
        write_half()
    (tmp_path / "half").rename(tmp_path / str(raised.value))
    claim(tmp_path, CONFIGURATION, overwrite=False)
    assert os.listdir(tmp_path) == ["config.json"]


def test_files_of_unknown_origin_are_left_alone(tmp_path):
    (tmp_path / "model.keras").write_text("somebody's")
    with pytest.raises(ValueError, match=r"holds model\.keras but no config\.json"):
        claim(tmp_path, CONFIGURATION, overwrite=False)
    assert (tmp_path / "model.keras").read_text() == "somebody's"


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/bit_keras"])
def test_a_path_that_cannot_be_written_is_refused(where, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"cannot be written .*Choose another one with output_dir"):
        claim(tmp_path / where, CONFIGURATION, overwrite=False)
    assert os.listdir(tmp_path) == ["file"]


def test_numpy_numbers_are_written_as_python_numbers(tmp_path):
    content = {"seed": np.int64(3), "ema": np.float32(0.5)}
    assert plain(content) == {"seed": 3, "ema": 0.5}
    claim(tmp_path, content, overwrite=False)
    assert read_json(tmp_path / "config.json") == plain(content)
    assert claim(tmp_path, content, overwrite=False) is None


def test_versions_of_python_and_four_packages():
    assert set(versions()) == {"python", "bit_keras", "keras", "tensorflow", "numpy"}


@pytest.mark.parametrize("name", ["config.json", METRICS])
@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_damaged_json_file_is_refused_by_name(name, content, tmp_path):
    claim(tmp_path, CONFIGURATION, overwrite=False)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name} is damaged"):
        claim(tmp_path, CONFIGURATION, overwrite=False)
    assert claim(tmp_path, CONFIGURATION, overwrite=True) is None


def test_tensorboard_events_of_a_run_that_starts_over_are_removed(tmp_path):
    claim(tmp_path, CONFIGURATION, overwrite=False)
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "state-40.npz").write_text("x")
    claim(tmp_path, CONFIGURATION, overwrite=False)
    assert (tmp_path / "tensorboard").exists()
    (tmp_path / "state-40.npz").unlink()
    claim(tmp_path, CONFIGURATION, overwrite=False)
    assert not (tmp_path / "tensorboard").exists()


def test_a_single_run_and_runs_of_several_seeds_do_not_share_a_directory(tmp_path):
    claim(seed_run(tmp_path, 0), CONFIGURATION, overwrite=False)
    with pytest.raises(ValueError, match="holds the runs of several seeds"):
        claim(tmp_path, CONFIGURATION, overwrite=False)
    write_json(tmp_path / SEEDS, {})
    (seed_run(tmp_path, 0) / "notes.txt").write_text("mine")
    claim(seed_run(tmp_path, 12), CONFIGURATION, overwrite=False)
    claim(tmp_path / "seed-of-doubt", CONFIGURATION, overwrite=False)
    assert claim(tmp_path, CONFIGURATION, overwrite=True) is None
    assert sorted(os.listdir(tmp_path)) == ["config.json", "seed-0", "seed-of-doubt"]
    assert os.listdir(tmp_path / "seed-0") == ["notes.txt"]
    assert os.listdir(tmp_path / "seed-of-doubt") == ["config.json"]


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "{", "[]", "7"])
def test_json_that_is_damaged_or_nested_deep_is_refused(content, tmp_path):
    (tmp_path / METRICS).write_text(content)
    with pytest.raises(ValueError, match=r"metrics\.json is damaged"):
        read_json(tmp_path / METRICS)

"""Where an export goes: whole or not at all, and over nothing but a SavedModel."""

import os
import random
import subprocess
import sys
import time

import pytest
from exporters import export_program

from bit_keras.exporters import saved_model_directory
from bit_keras.exporters.saved_model_directory import atomic_directory, check_target


def write(path, text, overwrite=False, then=lambda: None):
    with atomic_directory(path, overwrite) as temporary:
        (temporary / "saved_model.pb").write_text(text)
        (temporary / "variables").mkdir()
        (temporary / "variables" / "data").write_text(text)
        then()


def content(path):
    return (path / "saved_model.pb").read_text(), (path / "variables" / "data").read_text()


def test_it_appears_with_its_parents(tmp_path):
    write(tmp_path / "a" / "b", "one")
    assert content(tmp_path / "a" / "b") == ("one", "one")
    assert os.listdir(tmp_path / "a") == ["b"]


def test_an_empty_directory_is_filled(tmp_path):
    (tmp_path / "module").mkdir()
    write(tmp_path / "module", "one")
    assert content(tmp_path / "module") == ("one", "one")


def test_a_saved_model_is_replaced_only_if_asked(tmp_path):
    path = tmp_path / "module"
    write(path, "one")
    with pytest.raises(FileExistsError, match="or overwrite"):
        write(path, "two")
    assert content(path) == ("one", "one")
    write(path, "two", overwrite=True)
    assert content(path) == ("two", "two")
    assert os.listdir(tmp_path) == ["module"]


def test_a_link_stays(tmp_path):
    write(tmp_path / "module", "one")
    (tmp_path / "link").symlink_to("module")
    write(tmp_path / "link", "two", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "module") == ("two", "two")


@pytest.mark.parametrize("with_saved_model", [False, True])
def test_a_directory_with_something_else_is_never_replaced(tmp_path, with_saved_model):
    path = tmp_path / "home"
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")
    if with_saved_model:
        (path / "saved_model.pb").write_text("one")
    with pytest.raises(
        FileExistsError, match=r"not only a SavedModel \(it contains 'thesis.tex'\)"
    ):
        write(path, "two", overwrite=True)
    assert (path / "thesis.tex").read_text() == "years of work"


def test_a_file_is_never_replaced(tmp_path):
    (tmp_path / "module").write_text("text")
    with pytest.raises(FileExistsError, match="The path is a file"):
        check_target(tmp_path / "module", overwrite=True)


def test_what_came_meanwhile_stays(tmp_path):
    path = tmp_path / "module"
    with pytest.raises(FileExistsError):
        write(path, "two", then=lambda: write(path, "one"))
    assert content(path) == ("one", "one")
    assert os.listdir(tmp_path) == ["module"]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "module"
    write(path, "one")
    with pytest.raises(ZeroDivisionError):
        write(path, "two", overwrite=True, then=lambda: 1 / 0)
    assert content(path) == ("one", "one")
    assert os.listdir(tmp_path) == ["module"]


def test_a_file_system_that_cannot_exchange(tmp_path, monkeypatch):
    class Library:
        def renameat2(self, *_):
            return -1

    monkeypatch.setattr(saved_model_directory.ctypes, "CDLL", lambda *_, **__: Library())
    write(tmp_path / "module", "one")
    write(tmp_path / "module", "two", overwrite=True)
    assert content(tmp_path / "module") == ("two", "two")
    assert os.listdir(tmp_path) == ["module"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux'")
def test_linux_exchanges_in_one_step(tmp_path, monkeypatch):
    write(tmp_path / "module", "one")
    renamed = []
    monkeypatch.setattr(saved_model_directory.os, "rename", lambda *names: renamed.append(names))
    write(tmp_path / "module", "two", overwrite=True)
    assert content(tmp_path / "module") == ("two", "two")
    assert not renamed


def run(path, seed, freeze, seconds=300):
    """Exports in a process of its own, which is killed so many seconds after it has begun."""
    command = [sys.executable, export_program.__file__, str(path), str(seed), str(freeze)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "exporting\n"
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return None


def files(path):
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [0, 1])
def test_killed_at_any_moment_it_leaves_the_old_or_the_new(tmp_path, rounds, freeze):
    complete, seconds = {}, 0.0
    for seed in (0, 1):
        start = time.monotonic()
        assert run(tmp_path / str(seed), seed, freeze) == 0
        seconds = time.monotonic() - start
        complete[seed] = files(tmp_path / str(seed))
    assert complete[0] != complete[1]
    path = tmp_path / "target"
    assert run(path, 0, freeze) == 0
    assert files(path) == complete[0]  # the same model gives the same bytes
    generator = random.Random(freeze)
    for _ in range(rounds(few=1, full=10)):
        run(path, 1, freeze, seconds=generator.uniform(0, seconds))
        assert files(path) in complete.values()

"""Modules appear whole or not at all, wherever the publisher is killed."""

import itertools
import os
import shutil
import subprocess
import sys

import made_up_modules as made_up
import pytest

from export import placing
from export.error import PublishError
from export.publish import publish_all
from export.site import archive_path, module_directory


class Killed(BaseException):
    """Stands for SIGKILL: nothing is done after it, not even in a finally."""


class _Dying:
    """A module whose functions work for so many calls, and from then on only raise."""

    def __init__(self, module, names, calls):
        self._module, self._names, self._calls = module, names, calls

    def __getattr__(self, name):
        function = getattr(self._module, name)
        if name not in self._names:
            return function

        def counted(*arguments, **keywords):
            if next(self._calls) <= 0:
                raise Killed
            return function(*arguments, **keywords)

        return counted


def publish(site, text, overwrite=False):
    return publish_all(site, [made_up.flowers(text)], overwrite, made_up.build)


def published_but_killed(site, text, calls, monkeypatch, overwrite):
    """Publishes until the publisher has renamed, replaced or removed so often."""
    countdown = itertools.count(calls, -1)
    with monkeypatch.context() as patch:
        patch.setattr(placing, "os", _Dying(os, ("rename", "replace"), countdown))
        patch.setattr(placing, "shutil", _Dying(shutil, ("rmtree",), countdown))
        try:
            publish(site, text, overwrite)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_at_every_step_it_goes_on(tmp_path, monkeypatch, overwrite):
    for text in ("one", "two"):
        publish(tmp_path / text, text)
    publish_all(tmp_path / "nothing", [])
    before = made_up.tree(tmp_path / ("one" if overwrite else "nothing"))
    after = made_up.tree(tmp_path / "two")
    for calls in itertools.count():
        site = tmp_path / f"killed after {calls}"
        if overwrite:
            publish(site, "one")
        killed = published_but_killed(site, "two", calls, monkeypatch, overwrite)
        publish_all(site, [])
        assert made_up.tree(site) in (before, after)
        publish(site, "two", overwrite)
        assert made_up.tree(site) == after
        if not killed:
            break
    assert calls > 7  # or nothing was tried


def test_two_publishers_do_not_meet(tmp_path):
    with placing.opened(tmp_path):
        program = (
            "import sys; from pathlib import Path; from export.placing import opened\n"
            "with opened(Path(sys.argv[1])): pass"
        )
        result = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            cwd=os.path.dirname(os.path.dirname(placing.__file__)),
        )
    assert "Another publisher is working on" in result.stderr
    with placing.opened(tmp_path):
        pass


def test_what_a_killed_build_left_is_removed(tmp_path):
    left = tmp_path / ".publisher" / "incoming" / "0123" / "module"
    left.mkdir(parents=True)
    (left / "saved_model.pb").write_text("half")
    publish(tmp_path, "one")
    assert os.listdir(tmp_path / ".publisher" / "incoming") == []


def test_a_build_that_fails_leaves_nothing(tmp_path):
    publish(tmp_path, "one")
    before = made_up.tree(tmp_path)

    def build(module, directory):
        made_up.build(module, directory)
        raise PublishError("its numbers are others")

    assert not publish_all(tmp_path, [made_up.flowers("two")], True, build)
    assert made_up.tree(tmp_path) == before


@pytest.mark.parametrize("part", [module_directory, archive_path])
def test_what_was_not_published_is_not_replaced(tmp_path, part, capsys):
    place = part(tmp_path, "my/flowers/1")
    place.mkdir(parents=True)
    (place / "thesis.tex").write_text("years of work")
    assert not publish(tmp_path, "one", overwrite=True)
    assert "was not published here" in capsys.readouterr().err
    assert (place / "thesis.tex").read_text() == "years of work"


def test_a_link_that_leads_out_is_not_followed(tmp_path, capsys):
    (tmp_path / "site" / "modules").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "site" / "modules" / "my").symlink_to(tmp_path / "elsewhere")
    assert not publish(tmp_path / "site", "one")
    assert "link out of" in capsys.readouterr().err
    assert os.listdir(tmp_path / "elsewhere") == []

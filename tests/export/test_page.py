"""The pages of a site: texts in them are shown as they are, and no renderer runs them."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import made_up_modules as made_up
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_modules import FLOWERS

from export.page import _code, _text, module_page
from export.publish import publish_all

EVIL = (
    "</td>|`x` **a** \\|<script src='//evil'></script> [x](javascript:y) ![z](//w) &amp; _q_ ~s~"
    "\n# h"
)


def record_with(text, tmp_path):
    """The record of a module that has a text wherever a record holds one."""
    tmp_path.mkdir(exist_ok=True)
    made_up.build(FLOWERS, tmp_path)
    (file,) = tmp_path.glob("*.json")
    record = json.loads(file.read_text())
    record["licence"] = record["description"]["model"] = record["source"]["file"] = text
    record["source"]["model"] = record["description"]["architecture"] = text
    record["description"]["versions"] = {text: text}
    record["ilsvrc2012_top1"] = {"percent": 1, "reported_by": text}
    return record


@pytest.mark.parametrize("published", [True, False])
def test_no_text_of_a_module_is_alive_on_its_page(published, tmp_path):
    record = record_with(EVIL, tmp_path)
    record["source"]["published"] = published
    page = module_page(record)
    plain = module_page(record_with("plain", tmp_path / "plain"))
    assert len(page.splitlines()) == len(plain.splitlines())
    for row in [line for line in page.splitlines() if line.startswith("| ")]:
        row = re.sub(r"\\.", "", row).replace("<code>", "").replace("</code>", "")
        row = re.sub(r"`[\w/.]*`", "", row)  # The handle and digests have none of these characters.
        row = row.replace("google-research/big_transfer", "")
        assert row.count("|") == 3
        assert not re.search(r"[*_\[\]`~<>]|&(?!lt;|gt;|amp;)", row)


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Z"]), min_size=1))
def test_any_text_is_shown_unchanged(text):
    words = " ".join(text.split())
    plain = re.sub(r"\\([\\`*_\[\]|~])", r"\1", _text(text))
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        plain = plain.replace(entity, character)
    assert plain == words
    assert not re.search(r"[`*_\[\]|~<>]", re.sub(r"\\.", "", _text(text)))
    assert _code(text) == f"<code>{_text(text)}</code>"


def test_the_index_says_what_the_modules_are_and_how_to_use_them(tmp_path):
    modules = [FLOWERS, dataclasses.replace(FLOWERS, handle="my/weeds/1", licence="<i>MIT</i>")]
    assert publish_all(tmp_path, modules, build=made_up.build)
    page = (tmp_path / "index.html").read_text()
    for text in ("arXiv 1912.11370", 'hub.load("modules/my/flowers/1")', "bit_keras.HubLayer"):
        assert text in page
    assert "low, high = 0.0, 1.0" in page
    assert "This site has 2 of them" in page
    assert "&lt;i&gt;MIT" in page
    assert "<i>" not in page
    empty = tmp_path / "empty"
    publish_all(empty, [], build=made_up.build)
    assert "This site has 0 of them" in (empty / "index.html").read_text()


def test_help_ends_well():
    command = [sys.executable, "-m", "export.publish", "--help"]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for text in ("--site", "--class_names", "python -m export.publish"):
        assert text in result.stdout

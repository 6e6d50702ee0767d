"""Emoji of npm's package, on a made-up set of the same form, and on the real one where it is."""

import json

import numpy as np
import pytest

from bit_keras.data import emoji
from bit_keras.data.tasks import task


@pytest.fixture
def package(tmp_path):
    """A package with 40 icons in each category, with other skin colours and a hidden icon."""
    icons, categories = {}, {"Flags": []}
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("bcdfghjklmnp"), 6)) for _ in range(40)]
    for category in emoji.CATEGORIES.values():
        names = [f"{word}-{category[:2].lower()}" for word in words]
        categories[category] = [*names, names[0] + "-dark", "hidden-one"]
        for name in categories[category]:
            x, y, r = rng.integers(4, 28, 3)
            body = f'<circle cx="{x}" cy="{y}" r="{r}" fill="red"/>'
            body += f'<path d="M {x} {r} L {y} 3 L {r} {x} z"/>'
            icons[name] = {"body": body}
    icons["hidden-one"]["hidden"] = True
    content = {"icons": icons, "categories": categories, "width": 32, "height": 32}
    folder = tmp_path / "node_modules/@iconify/json"
    (folder / "json").mkdir(parents=True)
    (folder / emoji._SET).write_text(json.dumps(content))
    return folder


def test_a_made_up_set(package, monkeypatch):
    drawn = task("emoji", data_dir=package)
    assert drawn.class_names == tuple(emoji.CATEGORIES)
    assert drawn.image_size == (64, 64)
    assert drawn.num_examples + drawn.num_test_examples == 8 * 40
    assert min(np.bincount(drawn.test.labels)) >= 8
    monkeypatch.chdir(package.parents[2])
    assert task("emoji").identity == drawn.identity


def test_forms_of_an_icon_are_one_series():
    names = ["artist", "man-artist", "woman-artist"]
    assert {emoji.series_name(name) for name in names} == {"artist"}


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NODE_PATH", str(tmp_path))
    monkeypatch.setattr(emoji.shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="npm install @iconify/json"):
        task("emoji")
    with pytest.raises(FileNotFoundError, match="npm install @iconify/json"):
        task("emoji", data_dir=tmp_path)

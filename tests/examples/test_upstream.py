"""examples/upstream/build.py, on icons, clip art and wallpapers that are made here."""

import doctest
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import bit_keras
from bit_keras.data.tasks import pretraining_task

EXAMPLES = Path(__file__).parents[2] / "examples"

MODULES = (
    "clip_art",
    "colours",
    "icon_names",
    "icons",
    "nearest",
    "outcome",
    "sources",
    "wallpapers",
)


@pytest.fixture
def module(monkeypatch):
    """`module(name)` imports a file of examples/upstream/."""
    monkeypatch.syspath_prepend(EXAMPLES / "upstream")
    return importlib.import_module


@pytest.fixture
def build(example, module, monkeypatch, tmp_path):
    """`build(output, *flags)` runs the program on sources made here; returns its sources.json."""
    make_icons(tmp_path / "package")
    make_clip_art(tmp_path / "png")
    make_wallpapers(tmp_path / "share")
    monkeypatch.setattr(module("wallpapers"), "TILES", 5)
    program = example("upstream/build")

    def run(output, *flags):
        sources = ("--iconify=package", "--openclipart=png", "--wallpapers=share")
        options = ("--word_icons=2", "--processes=1", f"--output_dir={output}")
        program.flags.FLAGS(["build", *sources, *options, *flags])
        program.main([])
        return json.loads((tmp_path / output / "sources.json").read_text())

    return run


def make_icons(package):
    def icons(*names):
        # Each has another drawing, because equal ones are left out.
        return {
            name: {"body": f'<path fill="currentColor" d="M{n} 2h9v{n + 5}h-9z"/>'}
            for n, name in enumerate(names, start=1)
        }

    sets = {
        "plain": ("MIT", "UI 24px", icons(
            "home-outline", "home-bold", "home-24-filled", "arrow-left", "house-arrow", "left-hand",
            "alpha-b-circle", "number-3", "flag-of-chad", "facebook-line", "old", "blank-hand",
        )),
        "colour": ("CC-BY-4.0", "UI Multicolor", {
            "home": {"body": '<path fill="#f00" d="M3 2h9v9h-9z"/>'},
            "chad": {"body": '<path fill="#0f0" d="M3 2h9v9h-9z"/>'},
        }),
        "shared": ("CC-BY-SA-4.0", "UI 24px", icons("home")),
        "unpaid": ("CC-BY-NC-4.0", "UI 24px", icons("home")),
        "unknown": (None, "UI 24px", icons("home")),
        "fa7-brands": ("MIT", "Logos", icons("facebook")),
        "circle-flags": ("MIT", "Flags / Maps", icons("de")),
        "fluent-emoji-flat": ("MIT", "Emoji", icons("cat")),
    }  # fmt: skip
    sets["plain"][2]["old"]["hidden"] = True
    sets["plain"][2]["blank-hand"]["body"] = "<g/>"
    (package / "json").mkdir(parents=True)
    collections = {}
    for name, (licence, category, of_set) in sets.items():
        collections[name] = {
            "name": name.title(),
            "total": len(of_set),
            "author": {"name": "Somebody"},
            "license": {"spdx": licence} if licence else {"title": "Mine"},
            "category": category,
            "palette": name == "colour",
        }
        data = {"icons": of_set, "width": 24, "height": 24}
        if name == "colour":
            data["categories"] = {"Flags": ["chad"]}
        (package / "json" / f"{name}.json").write_text(json.dumps(data))
    (package / "collections.json").write_text(json.dumps(collections))


def make_clip_art(root):
    def make(path, pixels):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / path)

    random = np.random.default_rng(0)
    drawing = np.zeros((50, 40, 4), np.uint8)
    drawing[10:30, 10:30] = (200, 30, 30, 255)
    drawing[15:25, 15:25] = 0
    make("shapes/box.png", drawing)
    make("geography/same_box.png", drawing)
    for number in range(40):
        make(f"shapes/stars/star_{number:02d}pt.png", random.integers(0, 255, (9, 9, 4), np.uint8))
    make("animals/birds/crow.png", drawing[::-1])
    make("signs_and_symbols/flags/europe/france.png", drawing[:, ::-1])
    make("signs_and_symbols/grey.png", random.integers(0, 255, (9, 9, 2), np.uint8))
    make("computer/nothing.png", np.zeros((9, 9, 4), np.uint8))
    # A copy of a picture of the task "digits".
    digit = (load_digits().images[0] * 255 / 16).astype(np.uint8)
    make("computer/copied.png", np.kron(digit, np.ones((8, 8), np.uint8)))


def make_wallpapers(share):
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 255, (12, 20, 3), np.uint8))
    for path, size in {
        "backgrounds/mate/nature/Dune.jpg": (900, 600),
        "wallpapers/Path/contents/images/900x600.png": (900, 600),
        "wallpapers/Path/contents/images/600x400.png": (600, 400),
        "backgrounds/small.png": (90, 60),
    }.items():
        (share / path).parent.mkdir(parents=True, exist_ok=True)
        noise.resize(size).save(share / path)
    Image.new("RGB", (900, 600), "blue").save(share / "backgrounds/Sky_by_Somebody.png")


def reasons(record):
    return {(source, part, reason): count for source, part, reason, count in record["left_out"]}


def test_what_is_built(build, capsys):
    record = build("out")
    left_out = reasons(record)
    assert {(row["source"], row["part"]): row["pictures"] for row in record["sources"]} == {
        # home (one of three), arrow-left, house-arrow, left-hand
        ("icons", "plain"): 4,
        ("icons", "colour"): 1,
        # Of drawings with the same content, the first is taken.
        ("clipart", "geography"): 4,
        ("clipart", "shapes"): 36 * 4,
        ("clipart", "signs_and_symbols"): 4,
        ("clipart", "computer"): 1,
        ("wallpapers", "mate-backgrounds"): 5,
        ("wallpapers", "plasma-workspace-wallpapers"): 5,
    }
    assert left_out == {
        ("icons", "plain", "other style of the same name"): 2,
        ("icons", "plain", "letter or numeral"): 2,
        ("icons", "plain", "flag"): 1,
        ("icons", "plain", "logo"): 1,
        ("icons", "plain", "hidden in its set"): 1,
        ("icons", "plain", "blank"): 1,
        ("icons", "colour", "flag"): 1,
        ("icons", "shared", "licence CC-BY-SA-4.0"): 1,
        ("icons", "unpaid", "licence CC-BY-NC-4.0"): 1,
        ("icons", "unknown", "licence none"): 1,
        ("icons", "fa7-brands", "set of logos"): 1,
        ("icons", "circle-flags", "set of flags"): 1,
        ("icons", "fluent-emoji-flat", "drawings of the task emoji"): 1,
        ("clipart", "animals", "folders of the task clipart"): 1,
        ("clipart", "signs_and_symbols", "flag"): 1,
        ("clipart", "shapes", "the same drawing as another"): 1,
        ("clipart", "shapes", "more than 36 of a series"): 4,
        ("clipart", "computer", "blank"): 1,
        ("wallpapers", "plasma-workspace-wallpapers", "another size of the same picture"): 1,
        ("wallpapers", "ukui-wallpapers", "small"): 1,
        ("wallpapers", "lomiri-wallpapers-16.04", "plain tile"): 5,
    }
    page = Path("out/SOURCES.md").read_text()
    assert "| shared | CC-BY-SA-4.0 | 1 |" in page
    assert "| icons | MIT | 4 |" in page
    assert "digest" in capsys.readouterr().out


def test_words_are_the_labels_of_a_task(build):
    build("out")
    assert Path("out/words.txt").read_text().splitlines() == ["arrow\t2", "home\t2", "left\t2"]
    task = pretraining_task("labels:out/words_of_icons.txt")
    assert task.several_labels
    assert task.class_names == ("arrow", "home", "left")
    assert task.num_examples + task.num_test_examples == 5


def test_pictures_do_not_depend_on_processes(build):
    alone = build("out", "--limit=8")["digest"]
    assert build("again", "--limit=8", "--processes=2")["digest"] == alone
    assert build("other", "--limit=8", "--seed=1")["digest"] != alone
    with pytest.raises(ValueError, match="Name another --output_dir"):
        build("out", "--limit=9")


def test_a_copy_of_a_downstream_picture_is_removed(build, tmp_path, capsys):
    before = build("out", "--limit=45")
    after = build("out", "--limit=45", "--downstream=digits,no_such_task")
    assert "drawn already" in capsys.readouterr().out
    assert after["digest"] != before["digest"]
    assert reasons(after)["clipart", "computer", "nearly equal to a picture of digits"] == 1
    assert not list((tmp_path / "out").rglob("*copied*"))
    record = json.loads((tmp_path / "out" / "nearest.json").read_text())
    assert "Unknown task" in record["tasks"]["no_such_task"]["not_compared"]
    digits = record["tasks"]["digits"]
    task = bit_keras.task("digits")
    assert digits["pictures"] == task.num_examples + task.num_test_examples
    correlation, _, path = digits["nearest"][0]
    assert correlation > 0.99
    assert "copied" in path
    with Image.open("out/nearest.png") as sheet:
        assert sheet.height > 50
    # A later call knows what was removed.
    assert build("out", "--limit=45")["digest"] == after["digest"]


def test_icons_contrast_with_their_grounds(build, tmp_path):
    build("out")
    for file in (tmp_path / "out/pictures/icons").rglob("*.png"):
        pixels = np.asarray(Image.open(file).convert("L"), float)
        assert pixels.shape == (96, 96)
        assert np.ptp(pixels) >= 0.29 * 255


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("package", "npm pack"),
        ("png", "apt-get install openclipart-png"),
        ("share", "apt-get install gnome-backgrounds"),
    ],
)
def test_a_missing_source_is_named(folder, said, build, tmp_path):
    (tmp_path / folder).rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=said):
        build("out", "--limit=5")


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name, module):
    results = doctest.testmod(module(name))
    assert not results.failed


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("letter-a", "letter or numeral"),
        ("hexagon-3-bold", "letter or numeral"),
        ("format-bold", "letter or numeral"),
        ("regionalindicatorb", "letter or numeral"),
        ("t-shirt-line", ""),
        ("x-circle", ""),
        ("battery-3", ""),
        ("circle-24-filled", ""),
        ("github-logo", "logo"),
        ("facebook-messenger", "logo"),
        ("24-filled", "no word in its name"),
        ("waving-hand-medium-dark-skin-tone", ""),
    ],
)
def test_which_names_are_left_out(name, reason, module):
    assert module("icon_names").why_dropped(name, frozenset(), frozenset(["facebook"])) == reason


def test_words_of_names(module):
    words = module("icon_names").words
    assert words("waving-hand-medium-dark-skin-tone") == ("waving", "hand")
    assert words("music-note3-24-filled-music") == ("music", "note")

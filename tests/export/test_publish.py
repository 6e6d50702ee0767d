"""What is published, refused and left alone; the processes that modules are built in."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import made_up_modules as made_up
import pytest
from networks import randomize, tiny

import bit_keras
from export import publish as program
from export.error import PublishError
from export.modules import modules_of, modules_of_zoo
from export.publish import publish_all


def never(module, directory):
    raise AssertionError(f"{module.handle} is built")


def published(site, *texts):
    return publish_all(site, [made_up.flowers(text) for text in texts], build=made_up.build)


def test_a_finished_module_is_not_built_again(tmp_path, capsys):
    assert published(tmp_path, "one")
    before = made_up.tree(tmp_path)
    assert publish_all(tmp_path, [made_up.flowers("one")], build=never)
    assert made_up.tree(tmp_path) == before
    assert "my/flowers/1: published already" in capsys.readouterr().out


def test_versions_are_immutable(tmp_path, capsys):
    published(tmp_path, "one")
    before = made_up.tree(tmp_path)
    assert not publish_all(tmp_path, [made_up.flowers("two")], build=never)
    assert "publish my/flowers/2, or pass --overwrite" in capsys.readouterr().err
    assert made_up.tree(tmp_path) == before
    assert publish_all(tmp_path, [made_up.flowers("two")], True, made_up.build)
    published(tmp_path / "other", "two")
    after = made_up.tree(tmp_path)
    assert {k: v for k, v in after.items() if "other" not in k} == made_up.tree(tmp_path / "other")


@pytest.mark.parametrize(
    "file", ["modules/my/flowers/1/saved_model.pb", "http/my/flowers/1", "docs/my/flowers/1.md"]
)
def test_what_is_damaged_or_lost_is_mended(tmp_path, file):
    published(tmp_path, "one")
    before = made_up.tree(tmp_path)
    (tmp_path / file).write_text("damaged")
    assert published(tmp_path, "one")
    assert made_up.tree(tmp_path) == before
    (tmp_path / file).unlink()
    assert published(tmp_path, "one")
    assert made_up.tree(tmp_path) == before


def test_it_is_mended_with_the_same_bytes_only(tmp_path, capsys):
    published(tmp_path, "one")
    (tmp_path / "http/my/flowers/1").write_text("damaged")

    def build(module, directory):
        made_up.build(dataclasses.replace(module, sha256="2" * 64), directory)

    assert not publish_all(tmp_path, [made_up.flowers("one")], build=build)
    assert "does not change" in capsys.readouterr().err


def test_one_that_fails_does_not_stop_the_others(tmp_path, capsys):
    names = ("my/a/1", "my/b/1", "my/c/1")
    modules = [dataclasses.replace(made_up.FLOWERS, handle=name) for name in names]

    def build(module, directory):
        if module.handle == "my/b/1":
            raise PublishError("its numbers are others")
        made_up.build(module, directory)

    assert not publish_all(tmp_path, modules, build=build)
    assert "my/b/1: not published. its numbers are others" in capsys.readouterr().err
    index = json.loads((tmp_path / "index.json").read_text())
    assert [module["handle"] for module in index["modules"]] == ["my/a/1", "my/c/1"]
    assert sorted(os.listdir(tmp_path / "modules" / "my")) == ["a", "c"]


def test_a_damaged_record_is_named(tmp_path):
    published(tmp_path, "one")
    (tmp_path / "docs/my/flowers/1.json").write_text("{")
    with pytest.raises(PublishError, match=r"docs/my/flowers/1\.json is not the record"):
        publish_all(tmp_path, [])


# Which modules


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    model = randomize(tiny(classes=3))
    model.save(folder / "flowers.keras")
    bit_keras.save_npz(model, folder / "three.npz")
    bit_keras.save_npz(tiny(classes=1000), folder / "thousand.npz")
    return folder


def test_the_zoo():
    handles = {module.handle for module in modules_of_zoo()}
    assert len(handles) == 6 * 2 + 6 * 3
    assert {
        "bit/m-r50x1/1",
        "bit/m-r50x1/imagenet21k_classification/1",
        "bit/m-r50x1/ilsvrc2012_classification/1",
        "bit/s-r152x4/ilsvrc2012_classification/1",
    } < handles
    assert {m.handle for m in modules_of("BiT-S-R50x1", None, None)} == {
        "bit/s-r50x1/1",
        "bit/s-r50x1/ilsvrc2012_classification/1",
    }


def test_an_npz_file_stands_in_for_the_published_one_with_its_classes(files):
    (module,) = modules_of("BiT-M-R50x1", str(files / "thousand.npz"), None)
    assert module.handle == "bit/m-r50x1/ilsvrc2012_classification/1"
    assert (module.include_top, module.upstream_classes) == (True, 1000)
    features, classifier = modules_of("BiT-S-R50x1", str(files / "thousand.npz"), None)
    assert (features.handle, features.include_top) == ("bit/s-r50x1/1", False)
    assert classifier.handle == "bit/s-r50x1/ilsvrc2012_classification/1"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "There is nothing to publish"),
        ({"model": "BiT-M-R50x9"}, "nearest name"),
        ({"model": "BiT-L-R50x1"}, "No weights of BiT-L-R50x1"),
        ({"model": "R14x0.5"}, r"No weights of R14x0\.5"),
        ({"model": "R14x0.5", "weights": "three.npz"}, r"published checkpoint of R14x0\.5"),
        ({"model": "BiT-M-R50x1", "handle": "my/flowers/1"}, "Leave --handle"),
        ({"model": "BiT-M-R50x1", "weights": "three.npz"}, "has 3 classes"),
        ({"model": "BiT-M-R50x1", "weights": "none.npz"}, "none.npz"),
        ({"weights": "three.npz", "handle": "my/flowers/1"}, "not a .keras file"),
        ({"weights": "flowers.keras"}, "needs a name"),
        ({"weights": "none.keras", "handle": "my/flowers/1"}, "none.keras"),
        ({"weights": "flowers.keras", "handle": "../flowers/1"}, "is not a handle"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, problem, files, monkeypatch):
    monkeypatch.chdir(files)
    given = {"model": None, "weights": None, "handle": None, **arguments}
    with pytest.raises((PublishError, ValueError, OSError), match=problem):
        modules_of(**given)


def test_the_same_file_elsewhere_is_the_same_module(files, tmp_path):
    (tmp_path / "flowers.keras").write_bytes((files / "flowers.keras").read_bytes())
    here, there = (
        modules_of(None, str(folder / "flowers.keras"), "my/flowers/1")[0]
        for folder in (files, tmp_path)
    )
    assert here.identity() == there.identity()
    (named,) = modules_of(None, here.weights, "my/flowers/1", class_names=("a", "b", "c"))
    assert named.identity() != here.identity()


def test_a_run_has_the_names_of_its_task(files, tmp_path):
    (tmp_path / "model.keras").write_bytes((files / "flowers.keras").read_bytes())
    (tmp_path / "metrics.json").write_text("{}")
    rule = {"crop": 32}
    configuration = {"command": "finetune", "model": "m", "task": "digits", "rule": rule}
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    (module,) = modules_of(None, str(tmp_path), "my/digits/1")
    assert module.class_names == tuple(bit_keras.task("digits").class_names)


def test_a_handle_that_ends_like_a_record(tmp_path):
    handles = ["my/flowers.json/1", "my/flowers/1"]
    for handle in handles:
        module = dataclasses.replace(made_up.flowers("one"), handle=handle)
        assert publish_all(tmp_path, [module], build=made_up.build)
    index = json.loads((tmp_path / "index.json").read_text())
    assert [module["handle"] for module in index["modules"]] == handles


# Processes


@pytest.mark.parametrize(
    ("ends", "problem"),
    [
        ("open(sys.argv[2] + '/error.txt', 'w').write('no such weights'); exit(2)", "no such"),
        ("1 / 0", "fault in the program:\n.*ZeroDivisionError"),
        ("os.kill(os.getpid(), 9)", "SIGKILL.*memory"),
    ],
)
def test_a_build_that_ends_badly(ends, problem, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "BUILD", (sys.executable, "-c", f"import os, sys; {ends}"))
    with pytest.raises(PublishError, match=f"(?s){problem}"):
        program.run_build(made_up.FLOWERS, tmp_path)


@pytest.mark.slow
def test_a_build_does_not_outlive_its_publisher(tmp_path):
    waits = (
        "import threading, time\nfrom export.build import _end_with_the_publisher\n"
        "threading.Thread(target=_end_with_the_publisher, daemon=True).start()\n"
        "print('ready', flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", waits],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=os.path.dirname(os.path.dirname(program.__file__)),
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()
        assert process.wait(timeout=60) == 1


def start(site, weights, *flags):
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "export.publish",
            f"--site={site}",
            f"--weights={weights}",
            "--handle=my/flowers/1",
            *flags,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=os.path.dirname(os.path.dirname(program.__file__)),
    )


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path, rounds):
    randomize(tiny(classes=3)).save(tmp_path / "flowers.keras")
    begun = time.monotonic()
    process = start(tmp_path / "alone", tmp_path / "flowers.keras")
    said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    duration = time.monotonic() - begun
    expected = made_up.tree(tmp_path / "alone")
    parts = {"modules", "http", "docs"}
    count = rounds(few=2, full=20)
    for i in range(count):
        site = tmp_path / str(i)
        process = start(site, tmp_path / "flowers.keras")
        # Spread evenly: the end of a publisher's life is where most is moved.
        time.sleep(duration * (0.3 + 0.7 * (i + 1) / (count + 1)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        there = {path for path in made_up.tree(site) if path.split("/")[0] in parts}
        assert all(made_up.tree(site)[path] == expected[path] for path in there)
        if "docs/my/flowers/1.json" in there:
            assert there == {path for path in expected if path.split("/")[0] in parts} - (
                {"docs/my/flowers/1.md"} - there  # which is made of the record
            )
        process = start(site, tmp_path / "flowers.keras")
        said = process.communicate(timeout=600)
        assert process.returncode == 0, said
        assert made_up.tree(site) == expected

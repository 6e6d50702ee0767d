"""Real networks, published: as hub loads them from a static server, and as their pages say."""

import dataclasses
import functools
import json
import re
import shutil
import subprocess
import sys
import threading
import warnings
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import keras
import numpy as np
import pytest
import tensorflow as tf
from made_up_modules import tree
from networks import images, quick, randomize, shrink, tiny
from reference import relative_error

import bit_keras
from bit_keras.exporters import saved_model
from export import build as build_program
from export.build import build
from export.error import PublishError
from export.modules import modules_of, modules_of_zoo
from export.page import module_page
from export.publish import publish_all, run_build

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pkg_resources, at import
    import tensorflow_hub as hub


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def build_here(module, directory):
    """Builds in this process, where the tests have changed things."""
    try:
        build(module, directory)
    except RuntimeError as error:
        raise PublishError(str(error)) from error


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A zoo of one small model, published with --all: (site, model, modules, what was said)."""
    folder = tmp_path_factory.mktemp("zoo")
    # As many classes as no published head has: only the feature vector can be made of it.
    model = randomize(tiny())
    (folder / "cache").mkdir()
    bit_keras.save_npz(model, folder / "cache" / "BiT-M-R50x1.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIT_KERAS_HOME", str(folder / "cache"))
        patch.setattr(bit_keras, "list_models", lambda: ["BiT-M-R50x1"])
        shrink(patch)
        said = []
        patch.setattr("builtins.print", lambda text, **_: said.append(text))
        modules = modules_of_zoo()
        assert not publish_all(folder / "site", modules, build=build_here)
    return folder / "site", model, modules, "\n".join(said)


@pytest.fixture
def http(zoo, tmp_path, monkeypatch):
    """A static file server: (its address, how to stop it)."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    handler = functools.partial(_Quiet, directory=str(zoo[0] / "http"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def stop():
        server.shutdown()
        thread.join()
        server.server_close()

    yield f"http://127.0.0.1:{server.server_port}", stop
    if thread.is_alive():
        stop()


def test_what_cannot_be_made_does_not_stop_the_others(zoo):
    site, _, _, said = zoo
    assert "bit/m-r50x1/1: published" in said
    assert "bit/m-r50x1/imagenet21k_classification/1: not published" in said
    assert "bit/m-r50x1/ilsvrc2012_classification/1: not published" in said
    index = json.loads((site / "index.json").read_text())
    assert [module["handle"] for module in index["modules"]] == ["bit/m-r50x1/1"]
    assert index["modules"][0]["source"]["file"] == "BiT-M-R50x1.npz"
    assert index["modules"][0]["licence"] == "Apache-2.0"
    assert "bit/m-r50x1/1" in (site / "index.html").read_text()


def test_hub_loads_it_from_a_static_server_and_then_without(zoo, http):
    model = zoo[1]
    address, stop = http
    x = images(2, 97, 131, 3)
    expected = keras.Model(model.input, model.endpoints["features"])(x).numpy()
    for server_is_there in (True, False):
        module = hub.load(f"{address}/bit/m-r50x1/1")
        assert relative_error(module(x / 2 + 0.5, training=False), expected) < 1e-5
        if server_is_there:
            stop()


def test_the_examples_of_a_page_run(zoo, monkeypatch):
    site = zoo[0]
    page = (site / "docs/bit/m-r50x1/1.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    monkeypatch.chdir(site)
    variables = {}
    for example in examples:
        exec(example.replace("224", "64"), variables)
    assert variables["model"].output_shape == (None, 10)
    assert len(variables["layer"].trainable_weights) > 0


def test_a_page_says_what_the_files_are(zoo):
    site = zoo[0]
    page = (site / "docs/bit/m-r50x1/1.md").read_text()
    archive = site / "http/bit/m-r50x1/1"
    digest = subprocess.run(["sha256sum", archive], capture_output=True, text=True, check=True)
    assert f"`{digest.stdout.split()[0]}`" in page
    assert f"{archive.stat().st_size} bytes" in page
    assert "Apache-2.0" in page
    assert "BiT-M-R50x1.npz" in page
    assert "black 0 and white 1" in page
    assert "top-1" not in page  # nobody reported any of features
    assert "serving_bytes" not in page


@pytest.fixture
def flowers(tmp_path):
    randomize(tiny(classes=3)).save(tmp_path / "flowers.keras")
    (module,) = modules_of(
        None,
        str(tmp_path / "flowers.keras"),
        "my/flowers/1",
        class_names=("daisy", "rose", "tulip"),
        image_size=32,
        licence="CC0",
    )
    return module


@pytest.mark.slow
def test_what_differs_from_its_model_is_not_published(zoo, flowers, tmp_path, monkeypatch, capsys):
    site = tmp_path / "site"
    shutil.copytree(zoo[0], site)
    before = tree(site)
    with monkeypatch.context() as patch:
        patch.setattr(saved_model, "FLOAT32_BOUND", -1)
        assert not publish_all(site, [flowers], build=build_here)
    assert "differs from the model" in capsys.readouterr().err
    assert tree(site) == before


@pytest.mark.slow
def test_an_archive_that_differs_from_its_model_is_not_published(
    flowers, tmp_path, monkeypatch, capsys
):
    export = bit_keras.export_saved_model

    def of_other_weights(model, *arguments, **keywords):
        for weight in model.weights:
            weight.assign(weight * 1.001)
        export(model, *arguments, **keywords)
        for weight in model.weights:
            weight.assign(weight / 1.001)

    monkeypatch.setattr(build_program.bit_keras, "export_saved_model", of_other_weights)
    assert not publish_all(tmp_path / "site", [flowers], build=build_here)
    assert (
        "the archive gives other numbers than the model. The export of" in capsys.readouterr().err
    )
    assert not (tmp_path / "site" / "modules").exists()


@pytest.mark.slow
def test_a_head_of_zeros_is_published(tmp_path):
    tiny(classes=3).save(tmp_path / "new.keras")
    modules = modules_of(None, str(tmp_path / "new.keras"), "my/new/1")
    assert publish_all(tmp_path / "site", modules, build=build_here)


def test_a_run_is_published_with_its_background_and_its_range_of_pixels(tmp_path):
    # No range of pixels can be recognized in the layers of this model: see test_scaled_inputs.py.
    inputs = keras.Input((None, None, 3))
    model = bit_keras.Model(inputs, quick()(keras.layers.Rescaling(1 / 255)(inputs)))
    run = tmp_path / "run"
    run.mkdir()
    model.save(run / "model.keras")
    configuration = {"command": "finetune", "task": "digits", "background": "#808080"}
    (run / "config.json").write_text(json.dumps(configuration))
    (run / "metrics.json").write_text("{}")
    (module,) = modules_of(None, str(run), "my/run/1", image_size=16)
    assert publish_all(tmp_path / "site", [module], build=build_here)
    x = images(2, 40, 40, 3)
    published = tf.saved_model.load(str(tmp_path / "site/modules/my/run/1"))
    assert relative_error(published(x / 2 + 0.5), model.predict_on_batch(x)) < 1e-5
    description = json.loads(published.describe().numpy())
    assert "the colour #808080" in description["serving_bytes_images"]
    others = ({"background": "white"}, {"model_range": (0.0, 1.0)})
    identities = [dataclasses.replace(module, **other).identity() for other in ({}, *others)]
    assert len(set(identities)) == 3


def test_a_page_says_who_reported_an_accuracy(zoo):
    record = json.loads((zoo[0] / "docs/bit/m-r50x1/1.json").read_text())
    record["ilsvrc2012_top1"] = {"percent": 80.39, "reported_by": "timm, at 448 pixels"}
    page = module_page(record)
    assert (
        "| top-1 on ILSVRC-2012 | 80.39 %, reported by: timm, at 448 pixels; not measured" in page
    )


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes_in_every_process(flowers, tmp_path, monkeypatch):
    for site, seed in (("one", "1"), ("two", "2")):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        assert publish_all(tmp_path / site, [flowers], build=run_build)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    module = tf.saved_model.load(str(tmp_path / "one/modules/my/flowers/1"))
    png = tf.io.encode_png(np.zeros((40, 50, 3), "uint8"))
    names = module.signatures["serving_bytes"](tf.stack([png]))["names"].numpy()
    assert set(names[0]) == {b"daisy", b"rose", b"tulip"}
    page = (tmp_path / "one/docs/my/flowers/1.md").read_text()
    assert "32 x 32 pixels" in page
    assert "CC0" in page


def test_help():
    program = [sys.executable, "-m", "export.publish", "--helpshort"]
    root = build_program.__file__.rsplit("/", 2)[0]
    said = subprocess.run(program, capture_output=True, text=True, check=False, cwd=root).stdout
    for flag in ("--site", "--model", "--weights", "--handle", "--[no]all", "--[no]overwrite"):
        assert flag in said

"""Handles of all kinds, through a real server, and what is refused of what they lead to."""

import functools
import shutil
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import keras
import numpy as np
import pytest
import tensorflow as tf
from layers import modules

import bit_keras
from bit_keras.layers.hub_module import load_reusable

IMAGES = np.ones((1, 2, 2, 3), "float32")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A static file server of a directory: (its address, the directory, how to stop it)."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    directory = tmp_path / "site"
    directory.mkdir()
    handler = functools.partial(_Quiet, directory=str(directory))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def stop():
        server.shutdown()
        thread.join()
        server.server_close()

    yield f"http://127.0.0.1:{server.server_port}", directory, stop
    if thread.is_alive():
        stop()


def publish(module, file, tmp_path):
    """The module as the compressed file that hub's resolver wants."""
    path = modules.save(module, tmp_path / "published")
    file.parent.mkdir(parents=True)
    with tarfile.open(file, "w:gz") as archive:
        archive.add(path, arcname=".")


def test_a_handle_on_a_static_server_and_then_from_the_cache(site, tmp_path):
    address, directory, stop = site
    publish(modules.Plain(), directory / "bit/m-r50x1/1", tmp_path)
    handle = f"{address}/bit/m-r50x1/1"
    layer = bit_keras.HubLayer(handle)
    assert layer.handle_or_path == handle
    assert layer(IMAGES).numpy().tolist() == [[3.0, 3.0]]
    stop()
    assert bit_keras.HubLayer(handle)(IMAGES).numpy().tolist() == [[3.0, 3.0]]
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(OSError, match=rf"{handle}': cannot be downloaded \(.*refused.*directory"):
        bit_keras.HubLayer(handle)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "404"), (b"<html>not here</html>", "not appear to be a valid module"), ("cut", ".")],
)
def test_an_address_that_serves_no_archive_is_refused(site, tmp_path, content, message):
    address, directory, _ = site
    file = directory / "module"
    if content == "cut":
        publish(modules.Plain(), directory / "whole/1", tmp_path)
        content = (directory / "whole/1").read_bytes()[:-200]
    if content:
        file.write_bytes(content)
    for _ in range(2):  # what was refused is not in the cache
        with pytest.raises(OSError, match=rf"module': cannot be downloaded \(.*{message}"):
            load_reusable(f"{address}/module")


def test_an_archive_that_wants_out_is_refused(site, tmp_path):
    address, directory, _ = site
    with tarfile.open(directory / "module", "w:gz") as archive:
        archive.add(__file__, arcname="../../outside.py")
    with pytest.raises(OSError, match=r"cannot be downloaded .*outside\.py"):
        load_reusable(f"{address}/module")
    assert not list(tmp_path.rglob("outside.py"))


def test_a_home_directory_is_expanded(tmp_path, monkeypatch):
    modules.save(modules.Plain(), tmp_path / "plain")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_reusable("~/plain")(IMAGES).numpy().tolist() == [[3.0, 3.0]]


def test_a_path_where_nothing_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing': there is no such path\. Expected"):
        load_reusable(str(tmp_path / "nothing"))


def test_a_file_in_place_of_a_directory(tmp_path):
    (tmp_path / "module.tar.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"this is a file.*archive, unpack it"):
        load_reusable(str(tmp_path / "module.tar.gz"))


def test_a_directory_that_is_no_saved_model(tmp_path):
    with pytest.raises(ValueError, match=r"not a SavedModel, because .* has no saved_model\.pb"):
        load_reusable(str(tmp_path))


def test_a_module_of_tensorflow_1(tmp_path):
    path = modules.save(modules.Plain(), tmp_path / "module")
    (tmp_path / "module" / "tfhub_module.pb").write_bytes(b"\x08\x03")
    with pytest.raises(ValueError, match=r"format of TensorFlow 1.*Expected a TF2 SavedModel"):
        load_reusable(path)


def test_what_keras_exports_has_no_callable_root(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.export(tmp_path / "exported", verbose=False)
    with pytest.raises(ValueError, match=r"not callable \(signatures: serve, .*TFSMLayer"):
        load_reusable(str(tmp_path / "exported"))


def test_a_call_that_was_never_traced(tmp_path):
    class Untraced(tf.Module):
        @tf.function
        def __call__(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="was never traced before it was saved"):
        load_reusable(modules.save(Untraced(), tmp_path / "module"))


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/*.index", "variables/*data*"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_saved_model(tmp_path, name, damage):
    path = modules.save(modules.Plain(), tmp_path / "module")
    (file,) = (tmp_path / "module").glob(name)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.unlink()
    with pytest.raises((OSError, ValueError), match="module': ") as caught:
        load_reusable(path)
    assert len(str(caught.value).splitlines()) == 1

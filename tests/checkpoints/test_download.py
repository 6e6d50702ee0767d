"""From a name to a verified file: refusals, concurrent downloads, and leftovers."""

import hashlib
import io
import os
import pickle
import random
import socket
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints.server import Answer, Client

from bit_keras import DownloadError
from bit_keras.checkpoints.archive import write_archive
from bit_keras.checkpoints.cache import make_record, write_record
from bit_keras.checkpoints.catalog import CHECKPOINTS
from bit_keras.checkpoints.download import address_of, local_checkpoint, local_file

UPSTREAM = CHECKPOINTS["BiT-M-R50x1", "upstream"]
FILE = UPSTREAM.file
CONTENT = random.Random(0).randbytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The bytes of a small archive that could be a weight file."""
    path = tmp_path_factory.mktemp("weights") / "file.npz"
    rng = np.random.default_rng(0)
    write_archive(path, ((f"kernel{i}", rng.normal(size=(40, 30))) for i in range(3)))
    return path.read_bytes()


def accept(path):
    pass


@pytest.mark.parametrize("base", ["http://here/models", "http://here/models/", None, ""])
def test_the_address_of_a_file(base, monkeypatch):
    if base is None:
        monkeypatch.delenv("BIT_KERAS_BASE_URL", raising=False)
    else:
        monkeypatch.setenv("BIT_KERAS_BASE_URL", base)
    expected = "http://here/models/" if base else "https://storage.googleapis.com/bit_models/"
    assert address_of("vtab/a.npz") == f"{expected}vtab/a.npz"


def flipped(content, position):
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def object_array():
    buffer = io.BytesIO()
    np.savez(buffer, kernel0=np.array([print], dtype=object))
    return buffer.getvalue()


def compressed():
    buffer = io.BytesIO()
    np.savez_compressed(buffer, kernel0=np.zeros(1_000_000))
    return buffer.getvalue()


WRONG = {
    "nothing": lambda weights: b"",
    "a page": lambda weights: b"<!doctype html><html>Please log in</html>",
    "a pickle": lambda weights: pickle.dumps({"kernel0": [1.0]}),
    "an array of objects": lambda weights: object_array(),
    "a bomb": lambda weights: compressed(),
    "cut in the header": lambda weights: weights[:20],
    "cut in a member": lambda weights: weights[:5_000],
    "cut by a byte": lambda weights: weights[:-1],
    "flipped on the way": lambda weights: flipped(weights, 5_000),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("framing", ["length", "none"])
def test_a_wrong_file_is_refused_and_not_kept(wrong, framing, weights, server, cache):
    server.answers = [Answer(body=WRONG[wrong](weights), framing=framing)]
    server.files[FILE] = weights
    with pytest.raises(DownloadError, match=f"{server.address}{FILE} did not give the file that"):
        local_checkpoint(UPSTREAM)
    assert [file.name for file in cache.iterdir()] == [f".{FILE}.lock"]
    assert server.requests == [0], "it came whole: to ask again would not help"
    assert local_checkpoint(UPSTREAM).read_bytes() == weights


def test_only_a_published_size_must_match(weights, server):
    server.files[FILE] = weights
    size = len(weights) + 1
    assert local_checkpoint(replace(UPSTREAM, size=size)).read_bytes() == weights
    published = replace(UPSTREAM, file="b.npz", size=size, size_is_published=True)
    server.files["b.npz"] = weights
    with pytest.raises(DownloadError, match=rf"has {len(weights)} bytes.* published .* has {size}"):
        local_checkpoint(published)
    assert local_checkpoint(replace(published, size=len(weights))).read_bytes() == weights


@pytest.fixture
def no_sockets(monkeypatch):
    """Makes every attempt to open a socket fail, and returns the list of attempts."""
    attempts = []

    def refuse(*arguments, **options):
        attempts.append(arguments)
        raise OSError("no socket today")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    return attempts


def test_offline_use_opens_no_socket(weights, server, cache, monkeypatch, no_sockets):
    with pytest.raises(DownloadError, match=r"could not be fetched.*no socket today") as refusal:
        local_checkpoint(UPSTREAM)
    assert f"put it at {cache / FILE}" in str(refusal.value)
    assert len(no_sockets) == 1
    with pytest.raises(DownloadError, match="no socket today"):
        local_checkpoint(replace(UPSTREAM, file="other.npz"))
    assert len(no_sockets) == 1, "the same server was tried again"
    no_sockets.clear()

    monkeypatch.setenv("BIT_KERAS_OFFLINE", "1")
    path = cache / FILE
    with pytest.raises(DownloadError, match=f"{FILE} is not on this machine") as refusal:
        local_checkpoint(UPSTREAM)
    for part in (f"{server.address}{FILE}", f"{path}.", "(273,071,896 bytes)"):
        assert part in str(refusal.value)

    path.write_bytes(weights)
    assert local_checkpoint(UPSTREAM) == path
    path.write_bytes(weights[:-1])
    with pytest.raises(DownloadError, match=f"{FILE} is not what its record .*says"):
        local_checkpoint(UPSTREAM)
    path.write_bytes(weights)
    assert local_checkpoint(UPSTREAM) == path
    assert not no_sockets


def names(directory):
    return {file.name for file in directory.iterdir()}


def test_a_full_disk_keeps_nothing_of_the_new_file(server, cache):
    cache.mkdir()
    server.files = {"old.txt": CONTENT, "new.txt": CONTENT * 10}
    with Client(mount='mount -t tmpfs -o size=1m tmpfs "$0"', where=cache) as client:
        # The path of the cache as the other process sees it.
        full = Path(f"/proc/{client.process.pid}/root{cache}")
        client.ask("old.txt")
        assert client.answer() == DIGEST
        before = names(full)
        client.ask("new.txt")
        error = client.answer()
        assert error.startswith("OSError: [Errno 28] No space left on device, while fetching")
        assert f"{server.address}new.txt; nothing was kept" in error
        assert names(full) == before | {".new.txt.lock"}
        assert (full / "old.txt").read_bytes() == CONTENT
        client.ask("old.txt")
        assert client.answer() == DIGEST
    assert server.requests == [0, 0]


def test_a_read_only_cache_gives_the_files_that_it_has(server, cache, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    for variable in ("TMPDIR", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    server.files["hit.txt"] = server.files["miss.txt"] = CONTENT
    local_file("hit.txt", accept)
    for name in ("placed.txt", "recorded by an old version.txt"):
        (cache / name).write_bytes(CONTENT)
        os.utime(cache / name, (1e9, 1e9))
    write_record(
        cache / name,
        replace(make_record(cache / name, ""), modified_ns=None, changed_ns=None, inode=None),
    )
    before = names(cache)
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"'
    with Client(mount=mount, where=cache) as client:
        for name in ("hit.txt", "placed.txt", "recorded by an old version.txt"):
            client.ask(name)
            assert client.answer() == DIGEST
        client.ask("miss.txt")
        assert client.answer() == (
            f"DownloadError: miss.txt is not on this machine, and the cache {cache} cannot be "
            "written (Read-only file system). Set $BIT_KERAS_HOME to a directory that can be "
            "written."
        )
    assert server.requests == [0]
    assert names(cache) == before
    assert not names(tmp_path / "elsewhere")


def test_a_cache_that_is_a_file_is_refused(server, cache):
    cache.write_bytes(b"")
    with pytest.raises(DownloadError, match=r"cannot be written \(File exists\).*BIT_KERAS_HOME"):
        local_file("a.txt", accept)


@pytest.mark.parametrize("before", ["missing", "damaged"])
def test_four_processes_share_one_download(before, server, cache, rounds):
    server.pause = 0.002
    with ExitStack() as stack:
        clients = [stack.enter_context(Client()) for _ in range(4)]
        for i in range(rounds(few=3, full=20)):
            if before == "damaged":
                damage(server, cache, f"{i}.txt")
            assert ask_at_once(clients, server, f"{i}.txt") == 1
    assert len(list(cache.glob("*.damaged-*"))) == (i + 1) * (before == "damaged")


def test_four_processes_without_working_locks_get_the_right_file(server, cache, rounds):
    server.pause = 0.002
    with ExitStack() as stack:
        clients = [stack.enter_context(Client("locks do nothing")) for _ in range(4)]
        downloads = [
            ask_at_once(clients, server, f"{i}.txt") for i in range(rounds(few=3, full=20))
        ]
    assert max(downloads) > 1, "there were locks"
    assert names(cache) == {f"{i}.txt{s}" for i in range(len(downloads)) for s in ("", ".json")}


def ask_at_once(clients, server, name):
    """Checks that all clients get the file; returns how often it was downloaded."""
    server.files[name] = CONTENT
    server.requests.clear()
    for client in clients:
        client.ask(name)
    assert [client.answer() for client in clients] == [DIGEST] * 4
    return len(server.requests)


def damage(server, cache, name):
    """Puts a damaged file into the cache, with the record of the right file."""
    cache.mkdir(exist_ok=True)
    path = cache / name
    path.write_bytes(CONTENT)
    write_record(path, make_record(path, server.address + name))
    path.write_bytes(flipped(CONTENT, 7))


@pytest.mark.parametrize("value", ["1", "true", "yes", " 1", "on"])
def test_every_true_value_of_bit_keras_offline_forbids_fetching(value, server, cache, monkeypatch):
    server.files["a.txt"] = b"a"
    monkeypatch.setenv("BIT_KERAS_OFFLINE", value)
    with pytest.raises(DownloadError, match="BIT_KERAS_OFFLINE"):
        local_file("a.txt", lambda _: None)
    assert server.requests == []
    monkeypatch.setenv("BIT_KERAS_OFFLINE", "0")
    assert local_file("a.txt", lambda _: None).read_bytes() == b"a"

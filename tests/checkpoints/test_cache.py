"""The cache directory: where it is, what lies in it, and what happens to what has changed there."""

import json
import logging
from pathlib import Path

import pytest

from bit_keras import DownloadError
from bit_keras.checkpoints import cache as cache_room
from bit_keras.checkpoints.download import local_file

NAME, CONTENT = "words.txt", b"palace\nmonastery\n" * 20


def check(path):
    if b"palace" not in path.read_bytes():
        raise ValueError("it has no palace")


def fetch():
    return local_file(NAME, check).read_bytes()


@pytest.fixture
def cached(server, cache):
    """A file in the cache, fetched once."""
    server.files[NAME] = CONTENT
    assert fetch() == CONTENT
    assert server.requests == [0]
    return cache / NAME


def flip(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def set_aside(path):
    return list(path.parent.glob(f"{path.name}.damaged-*"))


@pytest.mark.parametrize(
    ("home", "xdg", "expected"),
    [
        ("/a/b", "/xdg", "/a/b"),
        ("~/a", "/xdg", "/home/me/a"),
        (None, "/xdg", "/xdg/bit_keras"),
        ("", "/xdg", "/xdg/bit_keras"),
        (None, None, "/home/me/.cache/bit_keras"),
        (None, "", "/home/me/.cache/bit_keras"),
    ],
)
def test_where_it_is(home, xdg, expected, monkeypatch):
    for name, value in {"HOME": "/home/me", "BIT_KERAS_HOME": home, "XDG_CACHE_HOME": xdg}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert cache_room.cache_directory() == Path(expected)
    assert cache_room.cache_path("vtab/a.npz") == Path(expected, "vtab", "a.npz")


@pytest.mark.parametrize(
    "file",
    [
        "../a.npz",
        "vtab/../../a.npz",
        "/etc/a.npz",
        "//a.npz",
        "",
        ".",
        "..",
        "C:/a",
        "..\\a",
        "a\0",
    ],
)
def test_no_name_leads_out_of_it(file, server, cache):
    with pytest.raises(ValueError, match="is no name of a file below the cache"):
        local_file(file, check)
    assert not server.requests
    assert not cache.exists()


def test_the_record(cached, server):
    assert json.loads((cached.parent / f"{NAME}.json").read_text()) == {
        "address": server.address + NAME,
        "size": 340,
        "sha256": "89417d8f9700199e107103583d225918639eb9c1fc8c5200f24be909de4b1ffe",
    }


@pytest.mark.parametrize("position", [0, len(CONTENT) // 2, len(CONTENT) - 1])
def test_a_flipped_byte_in_the_file(position, cached, server, caplog):
    flip(cached, position)
    damaged = cached.read_bytes()
    with caplog.at_level(logging.WARNING):
        assert fetch() == CONTENT
    assert fetch() == CONTENT
    assert len(server.requests) == 2
    (aside,) = set_aside(cached)
    assert aside.read_bytes() == damaged
    assert f"had changed since its download; it is now {aside}" in caplog.text


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"\n"])
def test_a_file_of_another_length(content, cached, server):
    cached.write_bytes(content)
    assert fetch() == CONTENT
    assert len(server.requests) == 2
    assert len(set_aside(cached)) == 1


@pytest.mark.parametrize("file_too", [False, True], ids=["record", "record and file"])
def test_a_flipped_bit_anywhere_in_the_record(file_too, cached):
    """The right file comes, or the record is named; a wrong file never comes."""
    record = cached.parent / f"{NAME}.json"
    whole, refusals = record.read_bytes(), 0
    for position in range(len(whole)):
        record.write_bytes(whole)
        cached.write_bytes(CONTENT)
        flip(record, position, position % 8)
        if file_too:
            flip(cached, position)
        try:
            assert fetch() == CONTENT
        except DownloadError as error:
            assert f"remove {record}" in str(error)  # noqa: PT017
            refusals += 1
    # Not more than the positions of the digest: what else is flipped is mended by a download.
    assert 0 < refusals <= 64


def test_the_servers_file_changed_meanwhile(cached, server):
    flip(cached, 0)
    server.files[NAME] = b"another palace"
    with pytest.raises(DownloadError, match=rf"sha256 is .* it was .*remove {cached}\.json"):
        fetch()
    assert not cached.exists()
    assert len(set_aside(cached)) == 1
    (cached.parent / f"{NAME}.json").unlink()
    assert fetch() == b"another palace"


def test_while_the_cached_file_is_right_the_server_is_not_asked(cached, server):
    server.files[NAME] = b"another palace"
    assert fetch() == CONTENT
    server.close()
    assert fetch() == CONTENT
    assert len(server.requests) == 1


def test_a_file_placed_by_hand(server, cache):
    cache.mkdir()
    (cache / NAME).write_bytes(b"nothing")
    with pytest.raises(DownloadError, match=rf"{NAME} was not downloaded.*no palace"):
        fetch()
    (cache / NAME).write_bytes(CONTENT)
    assert fetch() == CONTENT
    assert not server.requests
    assert cache_room.read_record(cache / NAME).size == len(CONTENT)
    # From now on it is held to that record.
    flip(cache / NAME, 3)
    server.files[NAME] = CONTENT
    assert fetch() == CONTENT
    assert len(server.requests) == 1


def test_a_digest_that_somebody_vouches_for(server, cache):
    server.files[NAME] = CONTENT
    with pytest.raises(DownloadError, match="the catalogue says 00ff"):
        local_file(NAME, check, sha256="00ff")
    assert [file.name for file in cache.iterdir()] == [f".{NAME}.lock"]


def test_verify(cached, server):
    for name in ("b.txt", "vtab/c.npz", "d.txt"):
        server.files[name] = CONTENT
        local_file(name, check)
    (cached.parent / "e.txt").write_bytes(CONTENT)
    flip(cached.parent / "vtab/c.npz", 7)
    (cached.parent / "d.txt.json").write_text("{")
    states = {path.relative_to(cached.parent).as_posix(): s for path, s in cache_room.verify()}
    assert states == {
        NAME: "unchanged",
        "b.txt": "unchanged",
        "vtab/c.npz": "changed",
        "d.txt": "changed",
        "e.txt": "no record",
    }

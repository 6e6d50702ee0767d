"""The cache directory: its path, its records, and files that have changed in it."""

import hashlib
import json
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bit_keras import DownloadError
from bit_keras.checkpoints import cache as cache_room
from bit_keras.checkpoints.download import local_file
from bit_keras.utils.text_file import read_text

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
def test_the_path_of_the_cache_directory(home, xdg, expected, monkeypatch):
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
def test_a_name_that_leads_out_of_the_cache_is_refused(file, server, cache):
    with pytest.raises(ValueError, match="is not the name of a file inside the cache"):
        local_file(file, check)
    assert not server.requests
    assert not cache.exists()


def test_the_record_of_a_downloaded_file(cached, server):
    status = cached.stat()
    assert json.loads((cached.parent / f"{NAME}.json").read_text()) == {
        "address": server.address + NAME,
        "size": 340,
        "sha256": "89417d8f9700199e107103583d225918639eb9c1fc8c5200f24be909de4b1ffe",
        "modified_ns": status.st_mtime_ns,
        "changed_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }


@pytest.fixture
def hashed(monkeypatch):
    """The list of files that were hashed since the test began."""
    paths, make_record = [], cache_room.make_record

    def make_and_note(path, address):
        paths.append(path.name)
        return make_record(path, address)

    monkeypatch.setattr(cache_room, "make_record", make_and_note)
    return paths


def old_record(path):
    """Removes from a record what records of older versions do not have."""
    record = path.with_name(f"{path.name}.json")
    content = json.loads(record.read_text())
    for mark in ("modified_ns", "changed_ns", "inode"):
        del content[mark]
    record.write_text(json.dumps(content))


def test_a_downloaded_file_is_hashed_once(cached, hashed):
    for _ in range(3):
        assert fetch() == CONTENT
    assert not hashed
    assert dict(cache_room.verify()) == {cached: "unchanged"}
    assert hashed == [NAME], "verify always hashes"


def test_verify_finds_a_change_that_left_no_mark(cached):
    record = cache_room.read_record(cached)
    flip(cached, 3)
    status = cached.stat()
    marks = {"modified_ns": status.st_mtime_ns, "changed_ns": status.st_ctime_ns}
    cache_room.write_record(cached, replace(record, **marks))
    assert cache_room.is_marked(cached, cache_room.read_record(cached))
    assert dict(cache_room.verify()) == {cached: "changed"}


def change_in_place(path):
    flip(path, 3)


def change_in_place_and_reset_the_time(path):
    before = path.stat()
    flip(path, 3)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def exchange_by_a_file_of_the_same_size_and_time(path):
    other, before = path.with_name("other"), path.stat()
    other.write_bytes(path.read_bytes()[::-1])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, path)


def shorten(path):
    os.truncate(path, 100)


@pytest.mark.parametrize(
    "change",
    [
        change_in_place,
        change_in_place_and_reset_the_time,
        exchange_by_a_file_of_the_same_size_and_time,
        shorten,
    ],
)
def test_every_change_of_a_file_is_found(change, cached, server):
    time.sleep(0.02)  # longer than a step of the file system's clock
    change(cached)
    assert fetch() == CONTENT
    assert len(server.requests) == 2
    assert len(set_aside(cached)) == 1


def test_a_file_with_new_times_but_the_same_content_is_hashed_once(cached, hashed):
    os.utime(cached, (1e9, 1e9))
    for _ in range(3):
        assert fetch() == CONTENT
    assert hashed == [NAME]


def test_an_old_record_is_completed_after_hashing_the_file_once(cached, hashed, server):
    complete = cache_room.read_record(cached)
    old_record(cached)
    for _ in range(3):
        assert fetch() == CONTENT
    assert hashed == [NAME]
    assert cache_room.read_record(cached) == complete
    old_record(cached)
    flip(cached, 3)
    assert fetch() == CONTENT
    assert len(server.requests) == 2


def test_a_file_that_was_just_modified_is_hashed_again(cached, hashed):
    """A second change within one step of the file system's clock would leave the same time."""
    cached.write_bytes(CONTENT)
    for _ in range(3):
        assert fetch() == CONTENT
    assert hashed == [NAME] * 3


def test_a_file_that_changes_while_it_is_hashed_gets_no_marks(tmp_path, monkeypatch):
    path = tmp_path / NAME
    path.write_bytes(CONTENT)
    os.utime(path, (1e9, 1e9))
    assert cache_room.is_marked(path, cache_room.make_record(path, ""))
    file_digest = hashlib.file_digest

    def digest_of_changing_file(file, name):
        found = file_digest(file, name)
        path.write_bytes(CONTENT[::-1])
        return found

    monkeypatch.setattr(hashlib, "file_digest", digest_of_changing_file)
    assert cache_room.make_record(path, "").modified_ns is None


def test_threads_that_complete_a_record_at_once(cached):
    complete = cache_room.read_record(cached)
    for _ in range(5):
        old_record(cached)
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda _: fetch(), range(16))) == [CONTENT] * 16
        assert cache_room.read_record(cached) == complete
    assert {file.name for file in cached.parent.iterdir()} == {
        NAME, f"{NAME}.json", f".{NAME}.lock",
    }  # fmt: skip


@pytest.mark.parametrize("position", [0, len(CONTENT) // 2, len(CONTENT) - 1])
def test_a_file_with_a_flipped_byte_is_fetched_again(position, cached, server, caplog):
    flip(cached, position)
    damaged = cached.read_bytes()
    with caplog.at_level(logging.WARNING):
        assert fetch() == CONTENT
    assert fetch() == CONTENT
    assert len(server.requests) == 2
    (aside,) = set_aside(cached)
    assert aside.read_bytes() == damaged
    assert f"had changed since its download. It was renamed to {aside}" in caplog.text


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"\n"])
def test_a_file_of_another_length_is_fetched_again(content, cached, server):
    cached.write_bytes(content)
    assert fetch() == CONTENT
    assert len(server.requests) == 2
    assert len(set_aside(cached)) == 1


@pytest.mark.parametrize("file_too", [False, True], ids=["record", "record and file"])
def test_a_flipped_bit_in_the_record_never_gives_a_wrong_file(file_too, cached, rounds):
    """The call returns the right file, or its error names the record."""
    record = cached.parent / f"{NAME}.json"
    whole, refusals = record.read_bytes(), 0
    for position in range(0, len(whole), rounds(few=5, full=1)):
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
    # Only a flip within the 64 digits of the digest is refused; others lead to a new download.
    assert 0 < refusals <= 64


def test_a_file_that_changed_on_the_server_is_refused(cached, server):
    flip(cached, 0)
    server.files[NAME] = b"another palace"
    with pytest.raises(DownloadError, match=rf"sha256 is .* it was .*remove {cached}\.json"):
        fetch()
    assert not cached.exists()
    assert len(set_aside(cached)) == 1
    (cached.parent / f"{NAME}.json").unlink()
    assert fetch() == b"another palace"


def test_an_unchanged_file_is_used_without_asking_the_server(cached, server):
    server.files[NAME] = b"another palace"
    assert fetch() == CONTENT
    server.close()
    assert fetch() == CONTENT
    assert len(server.requests) == 1


def test_a_file_placed_by_hand_is_checked_and_recorded(server, cache):
    cache.mkdir()
    (cache / NAME).write_bytes(b"nothing")
    with pytest.raises(DownloadError, match=rf"{NAME} was placed in the cache by hand.*no palace"):
        fetch()
    (cache / NAME).write_bytes(CONTENT)
    assert fetch() == CONTENT
    assert not server.requests
    assert cache_room.read_record(cache / NAME).size == len(CONTENT)
    # From now on the file is compared with that record.
    flip(cache / NAME, 3)
    server.files[NAME] = CONTENT
    assert fetch() == CONTENT
    assert len(server.requests) == 1


def test_verify_names_changed_files_and_missing_records(cached, server):
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


@pytest.mark.parametrize("has_record", [True, False])
def test_a_fifo_or_a_folder_in_place_of_a_file_is_not_opened(has_record, cached):
    """Opening a FIFO waits for a writer, so the test would hang."""
    record = cached.with_name(f"{NAME}.json")
    cached.unlink()
    os.mkfifo(cached)
    if has_record:
        assert dict(cache_room.verify()) == {cached: "changed"}
        assert fetch() == CONTENT
    else:
        record.unlink()
        with pytest.raises(DownloadError, match="The path is a FIFO"):
            local_file(NAME, read_text)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_record_that_is_no_file_fits_no_file(make, cached, server):
    record = cached.with_name(f"{NAME}.json")
    record.unlink()
    make(record)
    assert dict(cache_room.verify()) == {cached: "changed"}
    if make is os.mkfifo:
        assert fetch() == CONTENT
        assert dict(cache_room.verify()) == {cached: "unchanged"}

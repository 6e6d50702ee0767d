"""One download from a faulty server, and by processes that are killed."""

import io
import os
import random
import subprocess
import sys
import time

import pytest
import requests
from checkpoints.server import Answer, Client

from bit_keras import DownloadError
from bit_keras.checkpoints import cache as cache_room
from bit_keras.checkpoints import http
from bit_keras.checkpoints.download import local_file
from bit_keras.utils.partial_files import partial_prefix

PIECE = 1 << 16
CONTENT = random.Random(0).randbytes(5 * PIECE)
NEW_CONTENT = random.Random(1).randbytes(7 * PIECE)

# The body breaks off after this number of bytes, all of which are kept.
CUT = KEPT = 3 * PIECE + 1000

# The most bytes that a file may have.
MOST = 2 * len(NEW_CONTENT)


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads"


@pytest.fixture
def fetch(server, directory):
    """Returns a function that downloads the file and checks that it leaves no other file."""
    server.files["file"] = CONTENT

    def fetch(address=server.address + "file"):
        path = directory / "file"
        http.fetch(address, path, lambda partial: os.replace(partial, path), MOST)
        assert [file.name for file in directory.iterdir()] == ["file"]
        return path.read_bytes()

    return fetch


def refused(fetch, message, *address):
    with pytest.raises(DownloadError, match=message):
        fetch(*address)


@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
def test_a_file_is_downloaded_in_one_request(framing, server, fetch):
    server.answers = [Answer(framing=framing)]
    assert fetch() == CONTENT
    assert server.requests == [0]


@pytest.mark.parametrize("status", [500, 502, 503, 408, 429])
def test_a_temporary_failure_is_retried(status, server, fetch):
    server.answers = [Answer(status, b"<html>Try later</html>")] * 2
    assert fetch() == CONTENT
    assert server.requests == [0, 0, 0]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("cut", [0, 100, CUT, len(CONTENT) - 1])
def test_a_body_that_breaks_off_is_resumed(framing, cut, server, fetch):
    server.answers = [Answer(cut=cut, framing=framing)]
    assert fetch() == CONTENT
    first, then = server.requests
    assert first == 0
    assert cut - PIECE < then <= cut


@pytest.mark.parametrize("cut", [0, CUT])
def test_a_server_that_hangs_is_asked_again(cut, server, fetch, monkeypatch):
    monkeypatch.setattr(http, "TIMEOUT", (1, 0.3))
    server.answers = [Answer(cut=cut, hangs=True)]
    assert fetch() == CONTENT
    assert len(server.requests) == 2
    server.answers = [Answer(cut=0, hangs=True)] * 3
    refused(fetch, r"could not be fetched in 3 tries.*timed out")


def test_the_download_fails_after_the_last_try(server, fetch):
    server.answers = [Answer(503, b"")] * 3
    refused(fetch, r"in 3 tries: .* 503 Service Unavailable")
    assert len(server.requests) == 3
    server.close()
    refused(fetch, "in 3 tries: .*refused")


@pytest.fixture
def broken(server, fetch, monkeypatch):
    """Leaves the temporary file of a download that broke off in an earlier call."""
    with monkeypatch.context() as patch:
        patch.setattr(http, "PAUSES", ())
        server.answers = [Answer(cut=CUT)]
        refused(fetch, "bytes are kept; the next call fetches the rest")
    server.requests.clear()
    server.lengths.clear()


def test_the_next_call_resumes_the_download(server, fetch, broken):
    assert fetch() == CONTENT
    assert server.requests == [KEPT]
    assert server.lengths == [len(CONTENT) - KEPT]


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "asks for a password"),
        (403, "a proxy"),
        (404, "BIT_KERAS_BASE_URL"),
        (410, "Check the address"),
    ],
)
def test_a_permanent_failure_is_not_retried(status, advice, server, fetch, broken, directory):
    server.answers = [Answer(status, b"<html></html>")]
    refused(fetch, rf"{server.address}file answered {status} .*{advice}")
    assert server.requests == [KEPT]
    assert not list(directory.iterdir())


def test_a_server_without_ranges_sends_the_whole_file_again(server, fetch, broken):
    server.ranges = "ignored"
    assert fetch() == CONTENT
    assert server.lengths == [len(CONTENT)]


@pytest.mark.parametrize("ranges", ["right", "unconditional", "ignored"])
def test_a_file_that_changed_on_the_server_is_not_resumed(ranges, server, fetch, broken):
    server.files["file"], server.ranges = NEW_CONTENT, ranges
    assert fetch() == NEW_CONTENT


@pytest.mark.parametrize("etag", ["W/{}", ""])
def test_without_a_strong_etag_nothing_is_resumed(etag, server, fetch):
    server.etag = etag
    server.answers = [Answer(cut=CUT)]
    assert fetch() == CONTENT
    assert server.requests == [0, 0]


@pytest.mark.parametrize(
    ("content_range", "body"),
    [
        (f"bytes 0-9/{len(CONTENT)}", CONTENT[:10]),
        ("", CONTENT[KEPT:]),
        (f"bytes {KEPT}-{KEPT + 9}/{len(CONTENT)}", CONTENT[KEPT : KEPT + 10]),
    ],
    ids=["another range", "no range", "a part of the rest"],
)
def test_an_answer_with_a_wrong_range_is_not_used(content_range, body, server, fetch, broken):
    server.answers = [Answer(206, body, {"Content-Range": content_range})]
    assert fetch() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize("content", [CONTENT, CONTENT[:-1]], ids=["the same", "a shorter one"])
def test_a_temporary_file_that_is_already_complete(content, server, fetch, monkeypatch):
    server.answers = [Answer(headers={"Content-Length": str(len(CONTENT) + 1)})]
    with monkeypatch.context() as patch:
        patch.setattr(http, "PAUSES", ())
        refused(fetch, "could not be fetched")
    server.files["file"], server.ranges = content, "unconditional"
    assert fetch() == content
    assert server.requests[1] == len(CONTENT)


def test_only_temporary_files_of_dead_local_processes_are_resumed(server, directory):
    path = directory / "file"
    prefix = partial_prefix(path).removesuffix(f"{os.getpid()}-")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    owners = {
        "dead": f"{prefix}{dead.pid}-a",
        "dead too": f"{prefix}{dead.pid}-b",
        "living": f"{prefix}{os.getppid()}-a",
        "elsewhere": f"{prefix.replace('-', '-0', 1)}{dead.pid}-a",
    }
    server.files["file"] = CONTENT
    http.fetch(server.address + "file", path, lambda partial: None, MOST)
    etag = requests.get(server.address + "file").headers["ETag"]
    for owner in owners.values():
        (directory / f"{owner}.partial").write_bytes(CONTENT[:1000])
        (directory / f"{owner}.partial.etag").write_text(etag)
    (directory / f"{prefix}{dead.pid}-c.partial.etag").write_text(etag)
    http.fetch(server.address + "file", path, lambda partial: os.replace(partial, path), MOST)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1] == 1000
    left = {
        f"{owners[o]}.{kind}"
        for o in ("living", "elsewhere")
        for kind in ("partial", "partial.etag")
    }
    assert {file.name for file in directory.iterdir()} == left | {"file"}


def test_redirects_are_followed_five_times_and_only_to_http(server, fetch):
    server.answers = [Answer(302, b"", {"Location": location}) for location in ("/a", "file")]
    assert fetch() == CONTENT
    server.requests.clear()
    server.answers = [Answer(307, b"", {"Location": "file"})] * 10
    refused(fetch, "still redirected after 5 redirects")
    assert len(server.requests) == 6
    server.answers = [Answer(302, b"", {"Location": "file:///etc/hostname"})]
    refused(fetch, "file:///etc/hostname is not a http")


@pytest.mark.parametrize(
    "addresses",
    [
        ["https://here/file", "https://there/file", "http://there/file"],
        ["HTTPS://here/file", "http://there/file"],
    ],
)
def test_redirects_from_https_to_http_are_refused(addresses, fetch, monkeypatch):
    asked = []

    def get(session, address, **arguments):
        asked.append(address)
        response = requests.Response()
        response.status_code, response.raw = 302, io.BytesIO()
        response.headers["Location"] = addresses[len(asked)]
        return response

    monkeypatch.setattr(requests.Session, "get", get)
    refused(fetch, "http://there/file, which is refused because it is not encrypted", addresses[0])
    assert asked == addresses[:-1]


@pytest.mark.parametrize("address", ["ftp://here/file", "file:///etc/hostname", "here/file"])
def test_addresses_without_http_are_refused(address, fetch):
    refused(fetch, "is not a http or https address", address)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_progress_bar_on_a_terminal_only(is_terminal, server, fetch, broken, monkeypatch):
    class Stream(io.StringIO):
        def isatty(self):
            return is_terminal

    monkeypatch.setattr(sys, "stderr", Stream())
    fetch()
    shown = sys.stderr.getvalue()
    assert bool(shown) == is_terminal
    if is_terminal:
        assert "60%" in shown, "it begins where the transfer goes on"
        assert "100%" in shown


def test_the_body_of_a_redirect_is_not_read(server, fetch):
    server.answers = [Answer(302, bytes(50_000_000), {"Location": "file"}, framing="chunked")]
    assert fetch() == CONTENT
    assert server.sent < 20_000_000


@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
def test_a_body_that_is_too_long_is_refused_once(framing, server, fetch, directory):
    server.answers = [Answer(body=bytes(20_000_000), framing=framing)]
    refused(fetch, f"gives at least .* bytes, but expected were at most {MOST:,}")
    assert server.sent < 10_000_000
    assert server.requests == [0]
    assert not list(directory.iterdir())


def test_a_server_that_sends_too_slowly_is_asked_again(server, fetch, monkeypatch):
    monkeypatch.setattr(http, "_PERIOD", 0.05)
    monkeypatch.setattr(http, "_LEAST_BYTES_PER_SECOND", 2_000_000)
    server.pause = 0.04
    refused(fetch, r"in 3 tries: only \d+ bytes came in 0 s\. \d+ bytes are kept")
    server.pause = 0
    assert fetch() == CONTENT
    assert server.requests[0] == 0 < server.requests[1] < server.requests[2] < server.requests[3]


def test_a_download_killed_at_any_moment_is_resumed(server, cache, rounds):
    server.pause = 0.002
    content = random.Random(2).randbytes(2_000_000)
    count, moments = rounds(few=3, full=20), random.Random(3)
    kept = []
    for i in range(count):
        name = f"{i}.txt"
        server.files[name] = content
        server.requests.clear()
        server.lengths.clear()
        server.sent = 0
        with Client() as client:
            client.ask(name)
            # Moments from the first bytes until the file has been moved into place.
            moment = (i + moments.random()) / count * 1.05
            wait_until(lambda share=moment: server.sent >= min(share, 1) * len(content))
            time.sleep(max(moment - 1, 0))
            client.kill()
        path = cache / name
        prefix = partial_prefix(path).removesuffix(f"{os.getpid()}-")
        partial = next((file for file in cache.glob(f"{prefix}*.partial")), None)
        arrived = path.exists()
        kept.append(partial.stat().st_size if partial else 0)
        assert [file.name for file, _ in cache_room.verify()].count(name) == arrived

        assert local_file(name, lambda path: None).read_bytes() == content
        assert server.requests[1:] == ([] if arrived else [kept[-1]])
        assert server.lengths[1:] == ([] if arrived else [len(content) - kept[-1]])
        assert {file.name for file in cache.glob(f"*{name}*")} == {
            name, f"{name}.json", f".{name}.lock",
        }  # fmt: skip
        assert not list(cache.glob(f"{prefix}*"))
    assert sum(size > 0 for size in kept) > count / 2


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("etag", [b"\xff\xfe", b"\n\n", b"W/x", b""])
def test_a_damaged_etag_is_not_sent_to_the_server(etag, server, fetch, broken, directory):
    (left,) = directory.glob(".*.etag")
    left.write_bytes(etag)
    assert fetch() == CONTENT
    assert server.requests == [0]


def test_a_damaged_temporary_file_is_fetched_again_from_the_start(server, broken, directory):
    (left,) = directory.glob(".*.partial")
    left.write_bytes(b"\0" * left.stat().st_size)
    path = directory / "file"

    def accept(partial):
        if partial.read_bytes() != CONTENT:
            raise ValueError("it begins with zeros")
        os.replace(partial, path)

    http.fetch(server.address + "file", path, accept, MOST)
    assert path.read_bytes() == CONTENT
    assert server.requests == [KEPT, 0]


@pytest.mark.parametrize("address", ["http://127.0.0.1:99999/x", "http:///x"])
def test_an_invalid_address_is_tried_once(address, fetch, monkeypatch):
    monkeypatch.setattr(http.time, "sleep", lambda _: pytest.fail("it will not pass"))
    refused(fetch, "cannot be fetched", address)

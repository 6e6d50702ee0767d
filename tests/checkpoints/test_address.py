"""The base address: its secrets stay secret, and a bad one is refused in words."""

import base64
import json
import traceback

import pytest
from checkpoints.server import Answer

from bit_keras import DownloadError
from bit_keras.checkpoints import http
from bit_keras.checkpoints.address import address_of, shown_address, without_secrets
from bit_keras.checkpoints.cache import read_record
from bit_keras.checkpoints.download import local_file
from bit_keras.cli.main import main

SECRET = "s3cret"
USER, QUERY = f"me:{SECRET}@", f"?token={SECRET}&x=1"


def accept(path):
    if path.read_bytes() == b"wrong":
        raise ValueError("it is wrong")


@pytest.fixture
def with_secrets(server, monkeypatch):
    """The server's address with a password and a token."""
    address = server.address.replace("//", f"//{USER}") + "models" + QUERY
    monkeypatch.setenv("BIT_KERAS_BASE_URL", address)
    server.files["models/a.txt"] = b"content"
    return address


def test_a_password_and_a_token_reach_the_server_and_no_file(with_secrets, server, cache, capsys):
    assert local_file("a.txt", accept).read_bytes() == b"content"
    credentials = base64.b64encode(USER.rstrip("@").encode()).decode()
    assert server.asked == [(f"/models/a.txt{QUERY}", f"Basic {credentials}")]
    shown = server.address.replace("//", "//***@") + "models/a.txt?***"
    assert read_record(cache / "a.txt").address == shown
    assert main(["models", "BiT-M-R50x1"]) == 0
    assert SECRET not in capsys.readouterr().out
    assert not [file for file in cache.iterdir() if SECRET.encode() in file.read_bytes()]


def test_a_record_of_an_earlier_version_is_cleaned(with_secrets, cache):
    local_file("a.txt", accept)
    record = cache / "a.txt.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "address": with_secrets}))
    assert local_file("a.txt", accept).read_bytes() == b"content"
    assert SECRET not in record.read_text()


ELSEWHERE = f"http://me:{SECRET}@127.0.0.1:1/b{QUERY}"

ANSWERS = {
    "not there": [Answer(404, b"")],
    "overloaded": [Answer(503, b"")] * 3,
    "not what was asked for": [Answer(body=b"wrong")],
    "a loop": [Answer(302, b"", {"Location": f"/models/a.txt{QUERY}"})] * 9,
    "nobody there": [Answer(302, b"", {"Location": ELSEWHERE})] * 3,
    "no http": [Answer(302, b"", {"Location": ELSEWHERE.replace("http", "ftp")})],
    "no address": [Answer(302, b"", {"Location": f"http://me:{SECRET}@[::1{QUERY}"})],
    "too long": [Answer(body=b"", headers={"Content-Length": "9" * 17})],
    "cut": [Answer(cut=1)] * 3,
}


@pytest.mark.parametrize("case", ANSWERS)
def test_no_error_shows_a_secret(case, with_secrets, server, monkeypatch):
    server.answers = list(ANSWERS[case])
    server.etag = ""
    with pytest.raises(DownloadError) as raised:
        local_file("a.txt", accept)
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_no_error_shows_a_secret_without_a_server(with_secrets, server, tmp_path, monkeypatch):
    monkeypatch.setenv("BIT_KERAS_OFFLINE", "1")
    with pytest.raises(DownloadError, match="forbids") as offline:
        local_file("a.txt", accept)
    monkeypatch.delenv("BIT_KERAS_OFFLINE")
    server.close()
    with pytest.raises(DownloadError, match="cannot be reached: Connection refused") as closed:
        local_file("a.txt", accept)
    with pytest.raises(DownloadError, match="could not be fetched in 3 tries") as fetched:
        http.fetch(address_of("a.txt"), tmp_path / "a.txt", accept, 10)
    for raised in (offline, closed, fetched):
        assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "base",
    [
        f"http://me:{SECRET}@[::1",
        f"http://me:{SECRET}@here:port/",
        f"http://me:{SECRET}@here:99999/",
        f"http://me:{SECRET}@:80/",
        f"http://me:{SECRET}@here:0/",
        f"http://me:{SECRET} 1@here/",
        f"http://me:{SECRET}/1@[x/",
        f"http://me:{SECRET}@here/\n",
        f"http://me:{SECRET}@a..b/",
        f"http://me:{SECRET}@{'a' * 70}/",
        f"http://me:{SECRET}@*.[]/",
        f"//me:{SECRET}@here",
        f"me:{SECRET}@here:8080/x",
        f"http:/me:{SECRET}@here/x",
        f"https:me:{SECRET}@here/x",
        f"HTTPS:me:{SECRET}@here/x",
        f"http:/me:a/{SECRET}//b@here/x",
        f"ftp://here/x#token={SECRET}",
        "http://",
        "https:///models",
        "http:here",
        "here/models",
        "ftp://here",
        "\0",
        "é",
        "http://\ud800/",
    ],
)
def test_a_bad_base_address_is_refused_in_words(base, cache, monkeypatch):
    # An environment variable cannot hold all of them.
    monkeypatch.setattr("bit_keras.checkpoints.address._BASE_URL", base)
    monkeypatch.delenv("BIT_KERAS_BASE_URL", raising=False)
    monkeypatch.setattr(http.requests.Session, "send", lambda *_, **__: pytest.fail("it was asked"))
    with pytest.raises(DownloadError, match=r"\$BIT_KERAS_BASE_URL") as raised:
        local_file("a.txt", accept)
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    # What is printed before the address is checked shows no secret either.
    assert SECRET not in shown_address(address_of("a.txt"))
    monkeypatch.setenv("BIT_KERAS_OFFLINE", "1")
    with pytest.raises(DownloadError, match="forbids fetching") as raised:
        local_file("a.txt", accept)
    assert SECRET not in str(raised.value)


def test_a_fragment_is_kept_at_the_end_of_an_address_and_not_shown(monkeypatch):
    monkeypatch.setenv("BIT_KERAS_BASE_URL", f"http://here/x#token={SECRET}")
    assert address_of("a.txt") == f"http://here/x/a.txt#token={SECRET}"
    assert shown_address(address_of("a.txt")) == "http://here/x/a.txt#***"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://here:80/a@b", "http://***@b"),
        ("http://me:p@ss/w?rd#@here/a?x=1 and http://you@there?y", None),
        ("no address? None.", "no address? None."),
        ("from 'https:me:p@here/a#t=1' #", "from 'https:***@here/a#*** #"),
        ("to me:p//x@here/a.", "to ***@here/a."),
    ],
)
def test_what_is_left_of_a_text(text, expected):
    expected = expected or "http://***@here/a?*** and http://***@there?***"
    assert without_secrets(text) == expected

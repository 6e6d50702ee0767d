"""Which server is tried before a download, with and without a proxy."""

import pytest

from bit_keras.checkpoints import reachable

FILE = "http://example.org/a.npz"


@pytest.fixture
def tried(cache, monkeypatch):
    """The servers (host, port) to which a connection was tried."""
    servers = []
    monkeypatch.setattr(reachable, "_try", lambda server, wait: servers.append(server))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return servers


@pytest.mark.parametrize(
    ("proxy", "server"),
    [
        ("http://10.0.0.1:3128", ("10.0.0.1", 3128)),
        ("10.0.0.1:3128", ("10.0.0.1", 3128)),
        ("proxy.corp.com:3128", ("proxy.corp.com", 3128)),
        ("proxy.corp.com", ("proxy.corp.com", 80)),
        ("http://u:s3cret@10.0.0.1:3128/", ("10.0.0.1", 3128)),
        ("https://10.0.0.1", ("10.0.0.1", 443)),
        ("socks5h://10.0.0.1", ("10.0.0.1", 1080)),
        ("http://[::1]:3128", ("::1", 3128)),
    ],
)
def test_the_proxy_is_tried_in_each_form_that_requests_takes(proxy, server, tried, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy)
    assert reachable.problem_of_connection(FILE) is None
    assert tried == [server]


@pytest.mark.parametrize(
    "proxy", ["http://", "http://h:port", "teapot://h:1", "http://[::1", "me:s3cret@h:1"]
)
def test_a_proxy_that_requests_refuses_is_left_to_it(proxy, tried, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy)
    assert reachable.problem_of_connection(FILE) is None
    assert tried == []


def test_without_a_proxy_the_server_is_tried(tried, monkeypatch):
    assert reachable.problem_of_connection("https://example.org/a.npz") is None
    monkeypatch.setenv("http_proxy", "10.0.0.1:3128")
    monkeypatch.setenv("no_proxy", "example.org")
    assert reachable.problem_of_connection(FILE) is None
    assert tried == [("example.org", 443), ("example.org", 80)]

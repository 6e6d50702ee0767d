"""Handles lead to no place outside of a site."""

import pytest

from export.error import PublishError
from export.handle import check_handle, next_version


@pytest.mark.parametrize(
    "handle", ["bit/m-r50x1/1", "bit/m-r50x1/ilsvrc2012_classification/1", "my/r14x0.5/12", "a/1"]
)
def test_handles(handle):
    assert check_handle(handle) == handle


@pytest.mark.parametrize(
    "handle",
    [
        "",
        "1",
        "/1",
        "my/flowers",
        "my/flowers/0",
        "my/flowers/01",
        "my/flowers/1/",
        "my/flowers/-1",
        "my/flowers/\N{SUPERSCRIPT ONE}",
        "/my/flowers/1",
        "//my/flowers/1",
        "my//flowers/1",
        "../flowers/1",
        "my/../flowers/1",
        "my/../../flowers/1",
        "my/flowers/..",
        "./flowers/1",
        "my/.flowers/1",
        "my/flowers./1",
        "my/flow..ers/1",
        "my\\flowers/1",
        "c:/flowers/1",
        "my/flowers 1/1",
        "my/flowers\n/1",
        "my/flowers/1\n",
        "my/flowers\0/1",
        "my/Flowers/1",
        "my/fl\N{LATIN SMALL LETTER O WITH DIAERESIS}wers/1",
        "my/flowers%2e/1",
        "my/1/flowers/1",  # my/1 may be a file
        "my/1.md/1",
        "~/flowers/1",
        "http://example.com/flowers/1",
        "my/" + "a" * 101 + "/1",
    ],
)
def test_what_is_none(handle):
    with pytest.raises(PublishError, match="is not a handle"):
        check_handle(handle)


def test_the_next_version():
    assert next_version("my/flowers/9") == "my/flowers/10"

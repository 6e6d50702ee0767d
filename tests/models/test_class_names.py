"""Logits to names, with the label files fetched from a local server."""

import os

import keras
import numpy as np
import pytest

from bit_keras import DownloadError, decode_predictions
from bit_keras.models.preprocessing import class_names

PREFIXES = {1_000: "ilsvrc2012", 21_843: "imagenet21k"}


def labels(classes, kind):
    return [f"{kind[0]}{i:08}, é" for i in range(classes)]


def name(classes, kind):
    return f"{PREFIXES[classes]}_wordnet_{kind}.txt"


@pytest.fixture
def serve(server):
    def serve(classes, kind, lines):
        server.files[name(classes, kind)] = "".join(f"{line}\n" for line in lines).encode()

    for classes in PREFIXES:
        for kind in ("ids", "lemmas"):
            serve(classes, kind, labels(classes, kind))
    return serve


def logits_of(classes, best):
    """Logits of one image: normal ones, but for some classes that stand out."""
    logits = np.random.default_rng(0).normal(size=classes)
    for k, value in best.items():
        logits[k] = value
    return logits


@pytest.mark.parametrize("classes", PREFIXES)
def test_names_come_in_order_and_once(classes, serve, server):
    expected = (labels(classes, "ids"), labels(classes, "lemmas"))
    assert class_names(classes) == expected
    server.close()
    assert class_names(classes) == expected
    assert len(server.requests) == 2


@pytest.mark.parametrize("classes", PREFIXES)
@pytest.mark.parametrize("top", [1, 5, 7])
def test_the_most_probable_come_first(classes, top, serve):
    best = {3: 9.0, classes - 1: 12.0, 500: 10.0, 7: 7.0, 0: 8.0}
    batch = np.stack([logits_of(classes, best), -logits_of(classes, {})])
    first, second = decode_predictions(keras.ops.convert_to_tensor(batch), top=top)
    order = [classes - 1, 500, 3, 0, 7][:top]
    assert [entry[:2] for entry in first[:5]] == [(f"i{k:08}, é", f"l{k:08}, é") for k in order]
    for entries, logits in ((first, batch[0]), (second, batch[1])):
        assert len(entries) == top
        if classes == 1_000:  # softmax: one label an image
            probabilities = np.exp(logits) / np.exp(logits).sum()
        else:  # sigmoid: several
            probabilities = 1 / (1 + np.exp(-logits))
        expected = np.sort(probabilities)[::-1][:top]
        np.testing.assert_allclose([entry[2] for entry in entries], expected, rtol=1e-5)
        assert all(isinstance(entry[2], float) for entry in entries)


def test_the_default_is_five(serve):
    assert [len(entries) for entries in decode_predictions(np.zeros((2, 1_000)))] == [5, 5]


@pytest.mark.parametrize("classes", PREFIXES)
def test_large_logits_and_equal_ones(classes, serve):
    (entries,) = decode_predictions(logits_of(classes, {5: 1e4, 2: 1e4, 9: -1e4})[None], top=2)
    assert [entry[0][:9] for entry in entries] == ["i00000002", "i00000005"]
    expected = 0.5 if classes == 1_000 else 1.0
    assert [entry[2] for entry in entries] == [expected, expected]


@pytest.mark.parametrize(
    ("shape", "top", "message"),
    [
        ((1_000,), 5, r"shape \(1000,\); expected \[batch, 1000\]"),
        ((1, 1_000, 1), 5, r"shape \(1, 1000, 1\)"),
        ((1, 10), 5, r"shape \(1, 10\)"),
        ((1, 1_000), 0, "top=0; expected 1 to 1000"),
        ((1, 1_000), 1_001, "top=1001"),
    ],
)
def test_wrong_arguments(shape, top, message, server):
    with pytest.raises(ValueError, match=message):
        decode_predictions(np.zeros(shape), top=top)
    assert not server.requests


@pytest.mark.parametrize("classes", PREFIXES)
def test_probabilities_are_no_logits(classes, server):
    probabilities = np.full((2, classes), 1 / classes)
    with pytest.raises(ValueError, match=r"look like probabilities\. Expected logits"):
        decode_predictions(probabilities)
    assert not server.requests


def test_other_numbers_of_classes(server):
    with pytest.raises(ValueError, match="classes=18291: expected 1000 or 21843"):
        class_names(18_291)


@pytest.mark.parametrize("lines", [labels(999, "ids"), labels(1_001, "ids"), []])
def test_a_file_with_a_wrong_number_of_lines_is_not_kept(lines, serve, cache):
    serve(1_000, "ids", lines)
    with pytest.raises(DownloadError, match=f"has {len(lines)} lines; expected 1000"):
        class_names(1_000)
    assert not list(cache.glob("ilsvrc2012*"))
    serve(1_000, "ids", labels(1_000, "ids"))
    assert class_names(1_000)[0] == labels(1_000, "ids")


def test_a_file_that_is_no_text(serve, server, cache):
    server.files[name(1_000, "ids")] = b"\xff\n" * 1_000
    with pytest.raises(DownloadError, match="can't decode byte 0xff"):
        class_names(1_000)
    assert not list(cache.glob("ilsvrc2012*"))


def test_a_fifo_in_place_of_a_label_file_is_not_opened(serve, cache):
    cache.mkdir()
    os.mkfifo(cache / name(1_000, "ids"))
    with pytest.raises(DownloadError, match="The path is a FIFO"):
        class_names(1_000)

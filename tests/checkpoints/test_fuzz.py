"""Mutated weight files are refused with a CheckpointError or loaded; nothing else happens."""

import contextlib
import io
import math
import struct
import tracemalloc
import zipfile
from collections import Counter
from datetime import timedelta

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bit_keras
from bit_keras import CheckpointError, load_npz, save_npz
from bit_keras.checkpoints.archive import Archive

# Memory in bytes that zipfile, the parser of headers and errors need for a file of any size.
_OVERHEAD_BYTES = 1_000_000


def network():
    """A functional model with some of ResNetV2's layers, small enough for many files."""
    inputs = keras.Input((8, 8, 3))
    name = "root_block_standardized_conv2d"
    x = bit_keras.StandardizedConv2D(4, 3, use_bias=False, name=name)(inputs)
    for block in (1, 2, 3, 4):
        name = f"block{block}_unit01_a_group_norm"
        x = bit_keras.GroupNormalization(groups=2, name=name)(x)
    x = bit_keras.GroupNormalization(groups=2, name="group_norm")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(5, name="head_conv2d")(x))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "whole.npz"
    save_npz(network(), path)
    return path.read_bytes()


NUMBERS = st.one_of(
    st.integers(0, 300), st.sampled_from([0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 62])
)

DTYPES = ["<f4", ">f4", "<f8", "<f2", "|O", "|V0", "|V4", "<U1", "|S0", "<M8[s]", "<i4", "?", "f"]

HEADER = "{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}\n"

HEADERS = st.one_of(
    st.binary(max_size=80),
    st.text("{}()[]',:'<f4L#\n -", max_size=80).map(str.encode),
    st.tuples(
        st.one_of(
            st.sampled_from(DTYPES).map(repr),
            st.sampled_from(["[('a', '<f4')]", "('<f4', (2,))", "[]", "{}", "1", "'nonsense'"]),
        ),
        st.sampled_from(["False", "True", "0", "None"]),
        st.one_of(
            st.lists(st.one_of(NUMBERS, st.integers(-3, 8)), max_size=5).map(tuple).map(repr),
            st.sampled_from(["(4L,)", "(True,)", "[4]", "4", "(1.0,)", "(" * 150, "-4,", "9" * 60]),
        ),
    ).map(lambda parts: HEADER.format(*parts).encode()),
)


@st.composite
def headers(draw):
    """The first bytes of an npy array, with any version and length."""
    text = draw(HEADERS)
    version = draw(st.sampled_from([(1, 0)] * 4 + [(2, 0), (3, 0), (0, 0), (255, 255)]))
    length = draw(NUMBERS) if draw(st.integers(0, 4)) == 4 else len(text)
    form, largest = ("<H", 0xFFFF) if version == (1, 0) else ("<I", 0xFFFFFFFF)
    return b"\x93NUMPY" + bytes(version) + struct.pack(form, min(length, largest)) + text


@st.composite
def rebuilt(draw, whole):
    """A valid archive with correct checksums and wrong members."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    indices = st.integers(0, len(members) - 1)
    i, j = draw(indices), draw(indices)
    name, content = members[i]
    match draw(st.sampled_from(["swap", "rename", "drop", "repeat", "header", "resize", "none"])):
        case "swap":
            members[i], members[j] = (name, members[j][1]), (members[j][0], content)
        case "rename":
            names = st.one_of(st.text(max_size=12), st.sampled_from(["../a.npy", ".npy", "/a.npy"]))
            members[i] = (draw(st.one_of(names, names.map(lambda end: name + end))), content)
        case "drop":
            del members[i]
        case "repeat":
            members.append(members[i])
        case "header":
            members[i] = (name, draw(headers()) + content[128:])
        case "resize":
            members[i] = (name, content[: draw(NUMBERS)] + b"\0" * draw(st.integers(0, 50)))
    method = draw(st.sampled_from([0, 0, 0, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, 14]))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


# The fields of a zip archive that readers use: offset after each signature, and number of bytes.
FIELDS = {
    b"PK\x03\x04": [(4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)],
    b"PK\x01\x02": [(6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (42, 4)],
    b"PK\x05\x06": [(4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
}


@st.composite
def damaged(draw, content):
    """The bytes of an archive, changed in one place."""
    content = bytearray(content)
    kind = draw(st.sampled_from(["flip", "cut", "insert", "remove", "field", "field", "header"]))
    if kind == "field":
        signature = draw(st.sampled_from(sorted(FIELDS)))
        offset, size = draw(st.sampled_from(FIELDS[signature]))
        starts = [i for i in range(len(content)) if content.startswith(signature, i)]
        if starts:
            at = draw(st.sampled_from(starts)) + offset
            value = min(draw(NUMBERS), (1 << 8 * size) - 1)
            content[at : at + size] = value.to_bytes(size, "little")
        return bytes(content)
    at = draw(st.integers(0, max(len(content) - 1, 0)))
    if kind == "flip" and content:
        content[at] ^= draw(st.integers(1, 255))
    elif kind == "cut":
        del content[at:]
    elif kind == "insert":
        content[at:at] = draw(st.binary(min_size=1, max_size=30))
    elif kind == "remove":
        del content[at : at + draw(st.integers(1, 300))]
    elif kind == "header":
        start = content.find(b"\x93NUMPY", at)
        text = draw(headers())
        if start >= 0:
            content[start : start + len(text)] = text
    return bytes(content)


@st.composite
def files(draw, whole):
    content = draw(rebuilt(whole)) if draw(st.booleans()) else whole
    for _ in range(draw(st.integers(0, 3))):
        content = draw(damaged(content))
    return content


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_mutated_file_is_refused_or_loads(whole, tmp_path, rounds):
    model, path = network(), tmp_path / "file.npz"
    path.write_bytes(whole)
    load_npz(model, path)
    weights, outcomes = model.get_weights(), Counter()
    size = sum(4 * weight.shape.num_elements() for weight in model.weights)

    @settings(
        max_examples=rounds(few=300, full=20_000),
        deadline=timedelta(seconds=5),
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(content=files(whole))
    def one(content):
        path.write_bytes(content)
        tracemalloc.start()
        try:
            load_npz(model, path)
            outcome = "loaded"
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017
            outcome = "refused"
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        # The reader alone does not know the expected shapes, and must not fail otherwise.
        with contextlib.suppress(CheckpointError), Archive(path) as archive:
            for name, member in archive.members.items():
                if math.prod(member.shape) < len(content):
                    archive.read(name)
        assert peak < 2 * len(content) + size + _OVERHEAD_BYTES
        outcomes[outcome] += 1
        if outcome == "loaded":
            weights[:] = model.get_weights()
        for now, then in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(now, then)

    one()
    assert outcomes["loaded"] > rounds(few=8, full=500)
    assert outcomes["refused"] > rounds(few=150, full=10_000)

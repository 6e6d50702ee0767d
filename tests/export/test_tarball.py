"""Archives: the same files give the same bytes, and nothing leads out of the directory."""

import io
import os
import tarfile
import time

import pytest

from export.error import PublishError
from export.site import digests
from export.tarball import pack, unpack


def directory(path, mode=0o644):
    (path / "variables").mkdir(parents=True)
    (path / "empty").mkdir()
    for name in ("saved_model.pb", "variables/data", "variables/index"):
        (path / name).write_text(name * 1000)
        (path / name).chmod(mode)
    return path


def archive_of(path, *entries):
    with tarfile.open(path, "w:gz") as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size) if entry.isreg() else None)
    return path


def entry(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, 3 if kind == tarfile.REGTYPE else 0
    return info


def test_round_trip(tmp_path):
    source = directory(tmp_path / "source")
    pack(source, tmp_path / "file")
    unpack(tmp_path / "file", tmp_path / "copy")
    found = {str(p.relative_to(tmp_path / "copy")) for p in (tmp_path / "copy").rglob("*")}
    assert found == {str(p.relative_to(source)) for p in source.rglob("*")}
    assert (tmp_path / "copy/variables/data").read_text() == "variables/data" * 1000


def test_bytes_depend_on_names_and_content_alone(tmp_path):
    pack(directory(tmp_path / "one"), tmp_path / "1")
    other = directory(tmp_path / "two", mode=0o755)
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    time.sleep(1.1)  # gzip notes whole seconds
    pack(other, tmp_path / "2")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    (other / "saved_model.pb").write_text("else")
    pack(other, tmp_path / "3")
    assert (tmp_path / "1").read_bytes() != (tmp_path / "3").read_bytes()


@pytest.mark.parametrize(
    ("evil", "problem"),
    [
        (entry("../outside"), "leads out"),
        (entry("a/../../outside"), "leads out"),
        (entry(".."), "leads out"),
        (entry("/tmp/bit_keras_outside"), "leads out"),
        (entry("a\\..\\outside"), "leads out"),
        (entry("c:outside"), "leads out"),
        (entry("link", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
        (entry("link", tarfile.SYMTYPE, "inside"), "is a link"),
        (entry("link", tarfile.LNKTYPE, "inside"), "is a link"),
        (entry("null", tarfile.CHRTYPE), "device"),
        (entry("disk", tarfile.BLKTYPE), "device"),
        (entry("pipe", tarfile.FIFOTYPE), "pipe"),
        (entry("inside"), "is repeated"),
        (entry("./inside"), "is repeated"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_wants_out_is_refused(evil, problem, tmp_path):
    path = archive_of(tmp_path / "file", entry("inside"), evil)
    (tmp_path / "copy").mkdir()
    with pytest.raises(PublishError, match=problem):
        unpack(path, tmp_path / "copy")
    assert sorted(os.listdir(tmp_path)) == ["copy", "file"]
    assert os.listdir(tmp_path / "copy") == []
    assert not os.path.exists("/tmp/bit_keras_outside")


@pytest.mark.parametrize("size", [0, 10, 60])
def test_half_an_archive_is_refused(size, tmp_path):
    pack(directory(tmp_path / "source"), tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content[:size])
    with pytest.raises(PublishError, match="cannot be unpacked"):
        unpack(tmp_path / "file", tmp_path / "copy")


def test_a_flipped_bit_is_refused_or_means_nothing(tmp_path):
    source = directory(tmp_path / "source")
    pack(source, tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    refused = 0
    for place in range(10, len(content), 5):
        flipped = bytearray(content)
        flipped[place] ^= 8
        (tmp_path / "file").write_bytes(flipped)
        copy = tmp_path / str(place)
        try:
            unpack(tmp_path / "file", copy)
        except PublishError:
            assert not copy.exists()
            refused += 1
        else:  # the text repeats itself, so that some distances may be others
            assert digests(copy) == digests(source)
    assert refused > 80

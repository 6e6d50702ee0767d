"""The npz container: reading, refusing damaged and hostile files, writing the official bytes."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from bit_keras import CheckpointError
from bit_keras.checkpoints.archive import Archive, write_archive
from bit_keras.checkpoints.zero_copy import is_shareable

ARRAYS = {
    "a/kernel": np.arange(24, dtype="float32").reshape(2, 3, 4),
    "b": np.float32([1.5]),
    "empty": np.zeros((0, 3), "float32"),
}


@pytest.fixture
def path(tmp_path):
    write_archive(tmp_path / "file.npz", ARRAYS.items())
    return tmp_path / "file.npz"


def write_members(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def npy(array, **arguments):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), **arguments)
    return buffer.getvalue()


def header(shape, dtype="<f4"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def read_all(path):
    with Archive(path) as archive:
        return {name: archive.read(name) for name in archive.members}


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, strict=True)


def test_our_reader_and_numpy_read_what_write_archive_writes(path):
    assert_same(read_all(path), ARRAYS)
    with np.load(path) as archive:
        assert_same(dict(archive), ARRAYS)


def test_arrays_are_aligned_so_that_tensorflow_needs_no_copy(path):
    arrays = read_all(path).values()
    assert all(is_shareable(array) for array in arrays if array.size)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_our_reader_reads_what_numpy_writes(save, tmp_path):
    arrays = {"c": np.arange(12.0).reshape(3, 4), "f": np.asfortranarray(ARRAYS["a/kernel"])}
    save(tmp_path / "file.npz", **arrays)
    assert_same(read_all(tmp_path / "file.npz"), arrays)


def test_the_same_arrays_give_the_same_bytes(path, tmp_path):
    write_archive(tmp_path / "again.npz", ARRAYS.items())
    assert path.read_bytes() == (tmp_path / "again.npz").read_bytes()


def test_a_path_that_is_not_a_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weight file"):
        Archive(tmp_path / "none.npz")
    with pytest.raises(CheckpointError, match="is not a file"):
        Archive(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04" + b"\0" * 100])
def test_a_file_that_is_not_an_archive_is_refused(content, tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"file\.npz is not an npz archive"):
        Archive(path)


def test_a_file_truncated_anywhere_is_refused(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_all(path)


def test_a_flipped_byte_in_an_array_is_refused(path):
    # The array is larger than what zipfile reads ahead with the header.
    array = np.arange(10_000, dtype="float32")
    write_archive(path, [("a/kernel", array)])
    whole = bytearray(path.read_bytes())
    whole[whole.index(array.tobytes()) + 30_000] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"'a/kernel' is damaged"):
        read_all(path)


class Payload:
    ran = False

    def __reduce__(self):
        return (setattr, (Payload, "ran", True))


def test_pickles_are_refused_and_never_run(tmp_path):
    objects = npy(np.array([Payload()], dtype=object), allow_pickle=True)
    disguised = header((len(pickle.dumps(Payload())) // 8,), "|O") + pickle.dumps(Payload())
    for content in (objects, disguised, pickle.dumps(Payload())):
        for name in ("x.npy", "x"):
            path = write_members(tmp_path / "file.npz", [(name, content)])
            with pytest.raises(CheckpointError, match="'x'"):
                read_all(path)
    assert not Payload.ran


@pytest.mark.parametrize(
    "shape", [(1 << 40,), (1 << 62, 1 << 62), (-1, 4), (3, -4), (1 << 20, 1 << 20)], ids=str
)
def test_a_shape_that_the_file_does_not_hold_is_refused_from_its_header(shape, tmp_path):
    path = write_members(tmp_path / "file.npz", [("x.npy", header(shape) + b"\0" * 16)])
    with pytest.raises(CheckpointError, match="'x'"):
        Archive(path)


def test_a_zip_bomb_is_refused_from_its_header(tmp_path):
    content = header((4,)) + b"\0" * 50_000_000
    path = write_members(tmp_path / "f.npz", [("x.npy", content)], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(CheckpointError, match="requires 144"):
        Archive(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_repeated_member_is_refused(tmp_path):
    content = npy(np.float32([1]))
    path = write_members(tmp_path / "file.npz", [("x.npy", content), ("x.npy", content)])
    with pytest.raises(CheckpointError, match="'x' appears twice"):
        Archive(path)


def test_a_member_that_is_not_an_array_is_refused(tmp_path):
    path = write_members(tmp_path / "file.npz", [("readme.txt", b"hello")])
    with pytest.raises(CheckpointError, match=r"'readme\.txt' is not an npy array"):
        Archive(path)


def test_a_failed_write_leaves_the_old_file(path):
    def arrays():
        yield "a", np.zeros(4, "float32")
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    with pytest.raises(OSError, match="No space left"):
        write_archive(path, arrays())
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["file.npz"]

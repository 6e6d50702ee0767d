"""The npz container: zip archives of npy arrays, read defensively and written reproducibly.

Nothing is unpickled. A member's shape and dtype come from its header, and its length must be
exactly what they require, so that a hostile archive is refused before memory is allocated for it.
"""

import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bit_keras.checkpoints.errors import CheckpointError
from bit_keras.checkpoints.other_formats import description_of
from bit_keras.checkpoints.zero_copy import aligned_bytes
from bit_keras.utils.atomic_file import atomic_write

# Number of bytes that are read or written at once, few enough to stay in the processor's cache.
_CHUNK_BYTES = 1 << 20

# The longest header of an npy array, in bytes, that is read. numpy writes headers of 128 bytes, and
# the header of an array of four dimensions never needs 1000.
_MAX_HEADER_BYTES = 1000

# The exceptions that zipfile, zlib and numpy's header parser raise on a damaged or hostile file.
_READ_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,  # zipfile raises an OSError if a damaged archive gives an offset outside of the file.
    NotImplementedError,
    RuntimeError,
    ValueError,
    SyntaxError,
    TypeError,
    OverflowError,
    RecursionError,
    tokenize.TokenError,
    UserWarning,  # numpy warns about npy headers of Python 2; a user may turn warnings into errors.
)

# The zip compressions that numpy writes, by their numbers. LZMA is refused, because decompressing
# it takes as much memory as the file asks for.
_COMPRESSIONS = {zipfile.ZIP_STORED: "0 (none)", zipfile.ZIP_DEFLATED: "8 (deflate)"}


@dataclass(frozen=True)
class Member:
    """Name, shape, dtype and position of one array in an npz file."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    data_offset: int


class Archive:
    """An npz file that is open for reading. `read(name)` returns one of its arrays.

    Args:
        path: path of the npz file.
        compressed: if False, compressed members are refused, of which a small file can hold
            gigabytes.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is not an npz archive of plain numeric arrays.
    """

    def __init__(self, path: str | os.PathLike, compressed: bool = True):
        self.path = Path(path).expanduser()
        self._compressions = _COMPRESSIONS if compressed else (zipfile.ZIP_STORED,)
        if not self.path.exists():
            other = description_of(path)
            raise FileNotFoundError(
                f"There is no weight file {path}{f', and it {other}' if other else ''}. Check the "
                "path. Expected that of an npz weight file."
            )
        if not self.path.is_file():
            self._refuse_other_format()
            raise CheckpointError(f"{self.path} is not a file; expected an npz weight file.")
        try:
            self._zip = zipfile.ZipFile(self.path)
        except PermissionError:
            raise
        except _READ_ERRORS as error:
            self._refuse_other_format()
            raise CheckpointError(
                f"{self.path} is not an npz archive, or is truncated ({error}). "
                "Fetch or save it again."
            ) from error
        try:
            self.members = self._read_directory()
        except CheckpointError:
            self._zip.close()
            self._refuse_other_format()
            raise
        except BaseException:
            self._zip.close()
            raise

    def _refuse_other_format(self) -> None:
        """Raises a CheckpointError if the file is in a known format other than npz."""
        other = description_of(self.path)
        if other is not None:
            raise CheckpointError(f"{self.path} {other}. Expected an npz weight file.")

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Closes the npz file, from which nothing can be read afterwards."""
        self._zip.close()

    def read(self, name: str) -> np.ndarray:
        """Reads the array `name` and verifies its checksum.

        Raises:
            CheckpointError: the member is damaged.
        """
        member = self.members[name]
        try:
            content = aligned_bytes(math.prod(member.shape) * member.dtype.itemsize)
            self._read_into(memoryview(content), member)
            flat = content.view(member.dtype)
            if member.fortran_order:
                return flat.reshape(member.shape[::-1]).T
            return flat.reshape(member.shape)
        except _READ_ERRORS as error:
            raise self._refusal(name, f"is damaged ({error}). Fetch or save the file again") from (
                error
            )

    def _read_into(self, target: memoryview, member: Member) -> None:
        with self._zip.open(f"{member.name}.npy") as file:
            file.read(member.data_offset)
            position = 0
            while position < len(target):
                count = file.readinto(target[position : position + _CHUNK_BYTES])
                if count == 0:
                    raise EOFError(f"{len(target) - position} bytes of the array are missing")
                position += count
            # This read reaches the end of the array in the zip archive, where zipfile verifies the
            # checksum.
            if file.read(1):
                raise EOFError("there are bytes after the array")

    def _read_directory(self) -> dict[str, Member]:
        members = {}
        for info in self._zip.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                raise self._refusal(name, "is not an npy array; expected only members named *.npy")
            if name in members:
                raise self._refusal(name, "appears twice; expected each array once")
            members[name] = self._read_header(name, info)
        return members

    def _read_header(self, name: str, info: zipfile.ZipInfo) -> Member:
        if info.compress_type not in self._compressions:
            expected = " or ".join(map(_COMPRESSIONS.get, self._compressions))
            raise self._refusal(
                name, f"is compressed by method {info.compress_type}; expected {expected}"
            )
        try:
            with self._zip.open(info) as file:
                version = np.lib.format.read_magic(file)
                # Only version 1.0 of the npy format is read. Later versions allow headers of 4 GB,
                # which numpy would read into memory before it checks their length.
                if version != (1, 0):
                    raise ValueError(f"the version of the npy format is {version}; expected (1, 0)")
                shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(
                    file, _MAX_HEADER_BYTES
                )
                data_offset = file.tell()
        except _READ_ERRORS as error:
            raise self._refusal(name, f"has no readable header ({error})") from error
        if dtype.kind not in "biufc" or min(shape, default=0) < 0:
            raise self._refusal(name, f"is {dtype} of shape {shape}; expected plain numbers")
        expected = data_offset + math.prod(shape) * dtype.itemsize
        if info.file_size != expected:
            raise self._refusal(
                name, f"has {info.file_size} bytes; its header, {dtype}{shape}, requires {expected}"
            )
        return Member(name, shape, dtype, fortran_order, data_offset)

    def _refusal(self, name: str, why: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: member {name!r} {why}.")


def write_archive(path: str | os.PathLike, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes an npz file whose bytes depend only on the names and values of its arrays.

    Members are stored without compression, with a fixed date, and without the 20 bytes of zip64
    fields that `numpy.savez` adds to each, so that the size equals that of the published files.

    Args:
        path: path of the npz file; an existing file is replaced in one step at the end.
        arrays: pairs of name and array, taken one at a time, so that they need not all be in
            memory.

    Raises:
        OSError: the file cannot be written; an existing file at `path` is unchanged.
    """
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "x") as archive:
        for name, array in arrays:
            array = np.asarray(array, order="C")
            header = np.lib.format.header_data_from_array_1_0(array)
            # Each array gets zipfile's default date, 1980-01-01, so that equal arrays give equal
            # files.
            info = zipfile.ZipInfo(f"{name}.npy")
            # zipfile adds no zip64 field to an array whose announced size is below 2 GiB. The
            # announced size only has to be an upper bound.
            info.file_size = array.nbytes + _MAX_HEADER_BYTES
            with archive.open(info, "w") as file:
                np.lib.format.write_array_header_1_0(file, header)
                content = memoryview(array.reshape(-1).view("uint8"))
                for start in range(0, len(content), _CHUNK_BYTES):
                    file.write(content[start : start + _CHUNK_BYTES])

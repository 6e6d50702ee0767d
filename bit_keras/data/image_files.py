"""Finds the images below a folder, and says which files are left out and why."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from bit_keras.data.pillow_images import is_image, suffixes
from bit_keras.utils.regular_file import check_regular_file

# A file with one of these suffixes, or with one of Pillow's, counts as an image, and an error is
# raised if it is none. A file with another suffix counts as an image if its content begins like an
# image.
_SUFFIXES = (".avif", ".jxl")

# Suffixes of picture files that TensorFlow and Pillow do not read. Such a file is left out, unless
# its content is in another format that they read, as of a JPEG whose name ends in ".heic". A TIFF
# of such a name is left out, because raw files of cameras are TIFF files, of which Pillow would
# read a small preview.
_UNREADABLE = (
    *(".heic", ".heif", ".svg", ".eps", ".pdf", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf"),
    *(".rw2", ".raf", ".pef", ".srw"),
)

EXPECTED = "expected images that TensorFlow or Pillow reads, such as JPEG, PNG, WebP or TIFF files"

# Maps the names, in lower case, of folders that operating systems and storage devices add to
# folders of images, to the reason to leave them out. Some of these folders hold small copies of the
# images, which would be in both the training and the test split.
_OF_SYSTEMS = {
    "__macosx": "macOS makes such folders in archives",
    "@eadir": "Synology makes such folders for thumbnails",
    "@__thumb": "QNAP makes such folders for thumbnails",
    "@recycle": "QNAP makes such folders for deleted files",
    "#recycle": "Synology makes such folders for deleted files",
    "$recycle.bin": "Windows makes such folders for deleted files",
    "system volume information": "Windows makes such folders on each disk",
    "lost+found": "Linux makes such folders on each disk",
}


def why_hidden(name: str) -> str | None:
    """Returns why a file or folder of this name is no part of a data set, or None if it may be.

    >>> why_hidden(".git")
    'its name begins with a dot'
    """
    if name.startswith("."):
        return "its name begins with a dot"
    return _OF_SYSTEMS.get(name.lower())


class FolderListing:
    """Lists the images below a folder, and collects the files that are left out, to log them.

    Args:
        root: the folder that the paths of images are relative to.
    """

    def __init__(self, root: Path):
        self._root = root
        # `_named` holds the left-out paths that are logged, each with the reason; `_kinds` counts
        # the left-out files by suffix; `_read` maps the real path of each folder to the path by
        # which the folder was read.
        self._named: list[tuple[str, str]] = []
        self._kinds: Counter[str] = Counter()
        self._read: dict[str, str] = {}

    def images(self, folder: Path) -> list[str]:
        """Returns the images in a folder and its subfolders, as paths relative to the root, sorted.

        Links to files and folders are followed. A FIFO, a broken link or an unreadable folder is
        among the images if its name says so or if it may hold images: decoding it will fail with
        the reason. Hidden files and folders (`why_hidden`) and files without an image are left out.

        Args:
            folder: the root, or a folder below it.
        """
        found = (os.path.relpath(path, self._root) for path in self._walk(folder))
        return sorted(found, key=lambda image: image.split(os.sep))

    def leave_out_files(self, folder: Path) -> None:
        """Leaves out the files that stand beside the class folders, and notes them for the log.

        The subfolders belong to their classes from then on, whatever links lead to them.
        """
        for entry in _entries(folder):
            hidden = why_hidden(entry.name)
            if hidden:
                self._leave_out(entry, hidden)
            elif _is_folder(entry):
                self._read.setdefault(os.path.realpath(entry.path), entry.path)
            else:
                self._leave_out(entry, "it is not in the folder of a class")

    def log(self) -> None:
        """Logs a warning for each left-out picture, and one that counts all left-out files."""
        for path, reason in self._named:
            logging.warning("Left out %s: %s", path, reason)
        if self._kinds:
            counts = ", ".join(f"{count} {kind}" for kind, count in self._kinds.most_common())
            logging.warning("Left out %d files in %s: %s", self._kinds.total(), self._root, counts)

    def _walk(self, folder: str | os.PathLike) -> Iterator[str]:
        try:
            entries = _entries(folder)
        except OSError:
            # A folder that cannot be read is listed as an image, so that decoding it raises this
            # OSError again, which gives the reason.
            yield os.fspath(folder)
            return
        # A link may lead to a folder of another class or split, or around in a circle, so each real
        # folder is read only once.
        real = os.path.realpath(folder)
        first = self._read.setdefault(real, os.fspath(folder))
        is_root = os.fspath(folder) == os.fspath(self._root)
        if not is_root and Path(os.path.realpath(self._root)).is_relative_to(real):
            self._named.append((os.fspath(folder), f"it is a link to a folder around {self._root}"))
            return
        if first != os.fspath(folder):
            self._named.append((os.fspath(folder), f"the same folder is read as {first}"))
            return
        for entry in entries:
            name = entry.name.lower()
            hidden = why_hidden(name)
            if hidden:
                self._leave_out(entry, hidden)
            elif _is_folder(entry):
                yield from self._walk(entry.path)
            elif self._may_be_image(entry):
                yield entry.path
            else:
                self._leave_out(entry, f"neither TensorFlow nor Pillow reads {_suffix(name)} files")

    def _may_be_image(self, entry: os.DirEntry) -> bool:
        name = entry.name.lower()
        if _is_named_image(name):
            return True
        return is_image(entry.path, without=("TIFF",) if name.endswith(_UNREADABLE) else ())

    def _leave_out(self, entry: os.DirEntry, reason: str) -> None:
        """Notes a left-out file or folder for the log, with its path if it may hold a picture."""
        if _is_folder(entry):
            self._named.append((entry.path, reason))
            return
        self._kinds[_suffix(entry.name.lower())] += 1
        try:
            check_regular_file(entry.path)
        except OSError as error:
            self._named.append((entry.path, error.strerror))
            return
        name = entry.name.lower()
        if _is_named_image(name) or name.endswith(_UNREADABLE) or is_image(entry.path):
            self._named.append((entry.path, reason))


def _is_named_image(name: str) -> bool:
    """Returns True if the suffix of a name, in lower case, is that of an image that can be read."""
    return name.endswith((*_SUFFIXES, *suffixes()))


def not_regular(files: Sequence[str]) -> list[str]:
    """Returns the files that exist but are not regular files, such as a FIFO.

    Only folders are read, and no files, because there may be millions of them.
    """
    by_folder = defaultdict(set)
    for file in files:
        folder, name = os.path.split(file)
        by_folder[folder].add(name)
    return [
        entry.path
        for folder, names in by_folder.items()
        if os.path.isdir(folder)
        for entry in _entries(folder)
        if entry.name in names and not _is_file(entry) and os.path.exists(entry.path)
    ]


def _entries(folder: str | os.PathLike) -> list[os.DirEntry]:
    """Returns the entries of a folder, sorted by name, with links at the end.

    So what can be reached both directly and through a link is reached directly.
    """
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name))


def _is_folder(entry: os.DirEntry) -> bool:
    # For a link to itself, os.path.isdir returns False, but entry.is_dir() raises an error.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_file(entry: os.DirEntry) -> bool:
    return os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file()


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1] or "without a suffix"

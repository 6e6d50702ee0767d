"""The task "pictures:FOLDER": images without labels, for distillation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from bit_keras.data.image_files import EXPECTED, FolderListing
from bit_keras.data.image_list import ImageList, task_of_list
from bit_keras.data.tasks import Task


def load(name: str, path: str, *, skip_corrupt: bool = False, background: str = "white") -> Task:
    """Returns the task of all images in a folder and its subfolders, in any layout.

    The task has no classes, and no image has a label: `bit_keras.distill` takes the classes of its
    teacher. A tenth of the images, at most 51 200, are the test split, which is always the same.

    Args:
        name: the task's name.
        path: the folder; `~` is the home directory.
        skip_corrupt: if True, open every image once, and leave out the images that cannot be
            decoded, with a warning for each.
        background: the colour behind transparent pixels: a name or a code such as "#ff8000".

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the path is empty or no folder, or the folder holds fewer than two images.
    """
    root = Path(path).expanduser().absolute()
    if not path or not root.is_dir():
        problem = f"{root} is not a folder" if path else "it has no path"
        error = FileNotFoundError if path and not root.exists() else ValueError
        raise error(f"The task {name!r}: {problem}. Expected 'pictures:/path/to/images'.")
    found = FolderListing(root)
    images = found.images(root)
    found.log()
    if len(images) < 2:
        raise ValueError(
            f"{root} and its subfolders hold {len(images)} images; expected at least two: "
            f"{EXPECTED}."
        )
    listing = ImageList(
        root,
        paths=[os.fsencode(image) for image in images],
        labels=np.zeros(0, np.int64),
        counts=np.zeros(len(images), np.int64),
        class_names=(),
    )
    return task_of_list(name, listing, skip_corrupt, background)

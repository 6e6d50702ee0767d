"""The task "imagenet21k": ImageNet-21k, from files that the user has downloaded."""

from __future__ import annotations

import os
from pathlib import Path

from bit_keras.data import folder, image_list, records
from bit_keras.data.tasks import Task


def load(
    name: str,
    *,
    manual_dir: str | os.PathLike | None = None,
    skip_corrupt: bool = False,
    background: str = "white",
) -> Task:
    """Returns the task for ImageNet-21k, from TFRecord files or from a folder of images per class.

    A tenth of the images, at most 51 200, are the test split, which is always the same.

    Args:
        name: the task's name.
        manual_dir: the folder; `~` is the home directory.
        skip_corrupt: if True, open every image once, and leave out the images that cannot be
            decoded, with a warning for each.
        background: the colour behind transparent pixels: a name or a code such as "#ff8000".

    Raises:
        ValueError: `manual_dir` is missing, or the folder cannot be used.
        OSError: there is no such folder.
    """
    if manual_dir is None:
        raise ValueError(
            f"{name!r} cannot be downloaded by this program. Download it from image-net.org, and "
            "pass the folder that holds it as manual_dir (--manual_dir). The folder has one "
            "subfolder of images for each class, such as n02119789, or TFRecord files."
        )
    root = Path(manual_dir).expanduser()
    if not records.find_files(root):
        return image_list.task_of_list(name, folder.list_images(root), skip_corrupt, background)
    if skip_corrupt:
        raise ValueError(
            f"skip_corrupt (--skip_corrupt) is for image files, but {root} holds TFRecord files. "
            "Write the TFRecord files again without the corrupt images."
        )
    return records.load(name, root, background=background)

"""The task "imagenet21k" from a folder with one subfolder of images a class."""

import pytest
from pretraining_data import contents, grey_png

from bit_keras.data.tasks import pretraining_task


def test_a_folder_of_imagenet21k(tmp_path):
    for i in range(20):
        folder = tmp_path / f"n0{i % 3}"
        folder.mkdir(exist_ok=True)
        (folder / f"{i}.JPEG").write_bytes(grey_png(i))
    (tmp_path / "n00" / ".hidden.png").write_bytes(b"")
    (tmp_path / "n00" / "notes.txt").write_text("")
    task = pretraining_task("imagenet21k", manual_dir=tmp_path)
    assert task.class_names == ("n00", "n01", "n02")
    assert not task.several_labels
    test, train = contents(task)
    assert sorted(test + train) == [(i, (i % 3,)) for i in range(20)]


def test_a_class_without_images(tmp_path):
    for name in ("n0", "n1", "n2"):
        (tmp_path / name).mkdir()
    for i in range(4):
        (tmp_path / f"n{i % 2}" / f"{i}.png").write_bytes(grey_png(i))
    with pytest.raises(ValueError, match="n2 has too few images, 0: expected at least one"):
        pretraining_task("imagenet21k", manual_dir=tmp_path)


def test_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="has no subfolders"):
        pretraining_task("imagenet21k", manual_dir=tmp_path)

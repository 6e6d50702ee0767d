"""The task of images without labels."""

import pytest
from training.upstream_data import write_pictures

import bit_keras
from bit_keras.data.tasks import pretraining_task


def test_all_images_of_all_folders_without_labels(tmp_path):
    root = write_pictures(tmp_path / "pictures")
    (root / "notes.txt").write_text("no picture")
    task = pretraining_task(f"pictures:{root}")
    assert (task.num_examples, task.num_test_examples) == (18, 2)
    assert (task.num_classes, task.several_labels) == (0, True)
    colours = set()
    for split in (task.train, task.test):
        for example in split.dataset().as_numpy_iterator():
            assert example["label"].shape == (0,)
            colours.add(example["image"])
    assert len(colours) == 20
    again = pretraining_task(f"pictures:{root}")
    assert again.identity == task.identity


def test_what_is_no_folder_of_images_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for path, error, message in (
        ("", ValueError, "it has no path"),
        (tmp_path / "none", FileNotFoundError, "is not a folder"),
        (tmp_path / "file", ValueError, "is not a folder"),
        (tmp_path / "empty", ValueError, "hold 0 images"),
    ):
        with pytest.raises(error, match=message):
            pretraining_task(f"pictures:{path}")


def test_a_corrupt_image_can_be_left_out(tmp_path):
    root = write_pictures(tmp_path)
    (root / "broken.png").write_bytes(b"no image")
    assert pretraining_task(f"pictures:{root}", skip_corrupt=True).num_examples == 18


def test_pretraining_needs_labels(tmp_path):
    root = write_pictures(tmp_path / "pictures")
    with pytest.raises(ValueError, match="have no labels"):
        bit_keras.pretrain("R14x0.5", f"pictures:{root}", output_dir=tmp_path / "run")

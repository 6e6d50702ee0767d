"""What is found below a folder: by content, through links, and nothing is left out in silence."""

import os
import socket

import pytest
from data import kinds_of_images as kinds
from data.test_folder import RGB, encoded, make, paths, write

from bit_keras.data import image_files
from bit_keras.data.tasks import pretraining_task, task
from bit_keras.runs import run_directory
from bit_keras.runs.found_runs import find_runs
from bit_keras.runs.trained_model import find_model


@pytest.fixture
def warned(monkeypatch):
    """The texts of the warnings about files that are left out."""
    texts = []
    monkeypatch.setattr(
        image_files.logging, "warning", lambda text, *values: texts.append(text % values)
    )
    return texts


def names_of(made):
    """The names of all images in the class `cat`."""
    found = paths(made.train) + paths(made.test)
    return sorted(path.split("/cat/")[1] for path in found if "/cat/" in path)


def test_images_are_recognised_by_their_content(tmp_path, warned):
    name = make(tmp_path, {"cat": 2, "dog": 2})
    readable = {f"{kind}.dat": content for kind, (content, *_) in kinds.KINDS.items()}
    for file, content in {"IMG_0001": encoded(RGB), **readable}.items():
        write(tmp_path / "cat" / file, content)
    assert names_of(task(name)) == sorted(["000.png", "001.png", "IMG_0001", *readable])
    assert not warned


@pytest.mark.parametrize(
    "suffix",
    [
        *("jpg", "jpe", "jfif", "JPEG", "bmp", "gif", "webp", "tif", "tiff", "avif", "jp2", "jxl"),
        *("ico", "icns", "pcx", "psd", "tga", "dds", "xpm", "SGI", "mpo", "j2k", "qoi", "apng"),
    ],
)
def test_a_broken_file_with_the_suffix_of_an_image_is_an_error(tmp_path, suffix):
    listing = image_files.FolderListing(tmp_path)
    write(tmp_path / "cat" / f"broken.{suffix}", b"This is no image.")
    assert listing.images(tmp_path / "cat") == [f"cat/broken.{suffix}"]


def test_pictures_that_are_left_out_are_named_and_other_files_counted(tmp_path, warned):
    name = make(tmp_path, {"cat": 2, "dog": 2, ".cache": 1, "cat/.thumbnails": 1})
    for file in ("cat/a.heic", "dog/b.NEF", "dog/c.svg", "cat/notes.txt", "labels.csv", "d.txt"):
        write(tmp_path / file, b"Something else.")
    for file in ("stray.png", "cat/.hidden.jpg"):
        write(tmp_path / file)
    task(name)
    reasons = {
        "cat/a.heic": "neither TensorFlow nor Pillow reads .heic files",
        "dog/b.NEF": "neither TensorFlow nor Pillow reads .nef files",
        "dog/c.svg": "neither TensorFlow nor Pillow reads .svg files",
        "stray.png": "it is not in the folder of a class",
        "cat/.hidden.jpg": "its name begins with a dot",
        ".cache": "its name begins with a dot",
        "cat/.thumbnails": "its name begins with a dot",
    }
    assert set(warned[:-1]) == {
        f"Left out {tmp_path}/{file}: {reason}" for file, reason in reasons.items()
    }
    start, counts = warned[-1].rsplit(": ", 1)
    assert start == f"Left out 8 files in {tmp_path}"
    assert counts.startswith("2 .txt, ")
    kinds_left_out = {"2 .txt", "1 .csv", "1 .png", "1 .jpg", "1 .heic", "1 .nef", "1 .svg"}
    assert set(counts.split(", ")) == kinds_left_out


@pytest.mark.parametrize("folder", ["@eaDir", "__MACOSX", "@__thumb", "$RECYCLE.BIN", "lost+found"])
@pytest.mark.parametrize("place", ["", "cat/", "train/", "train/cat/"])
def test_folders_that_systems_make_are_left_out(folder, place, tmp_path, warned):
    splits = ["train/", "test/"] if place.startswith("train/") else [""]
    made = {f"{split}{animal}": 2 for split in splits for animal in ("cat", "dog")}
    name = make(tmp_path, {**made, f"{place}{folder}/000.png": 1})
    read = task(name)
    assert read.class_names == ("cat", "dog")
    assert read.train.num_examples + read.test.num_examples == 4 * len(splits)
    assert warned[0].startswith(f"Left out {tmp_path / place / folder}: ")
    assert "makes such folders" in warned[0]


def test_raw_files_of_cameras_are_not_taken_for_their_previews(tmp_path, warned):
    name = make(tmp_path, {"cat": 2, "dog": 2})
    write(tmp_path / "cat" / "photo.dng", kinds.KINDS["tiff"][0])
    assert names_of(task(name)) == ["000.png", "001.png"]
    assert "photo.dng: neither" in warned[0]


@pytest.mark.parametrize("suffix", ["heic", "HEIF", "pdf", "dng", "nef", "svg", "eps", "cr3"])
def test_an_image_with_the_suffix_of_another_kind_of_picture_is_read(tmp_path, suffix, warned):
    listing = image_files.FolderListing(tmp_path)
    for kind in ("jpeg", "png", "webp", "avif", "jpeg xl"):
        write(tmp_path / "cat" / f"{kind}.{suffix}", kinds.KINDS[kind][0])
    for kind, content in {"tiff": kinds.KINDS["tiff"][0], "text": b"<svg/>"}.items():
        write(tmp_path / "cat" / f"{kind}.{suffix}", content)
    write(tmp_path / "cat" / f"broken.{suffix}", kinds.BROKEN["heic"][0])
    found = sorted(f"cat/{kind}.{suffix}" for kind in ("jpeg", "png", "webp", "avif", "jpeg xl"))
    assert listing.images(tmp_path / "cat") == found
    listing.log()
    assert len(warned) == 4  # the three files that are left out, and their number


def test_links_are_followed(tmp_path, warned):
    name = make(tmp_path / "images", {"cat": 2, "dog": 2})
    make(tmp_path, {"elsewhere": 2})
    cat = tmp_path / "images" / "cat"
    (cat / "more").symlink_to(tmp_path / "elsewhere")
    (cat / "one.png").symlink_to(tmp_path / "elsewhere" / "000.png")
    assert names_of(task(name)) == ["000.png", "001.png", "more/000.png", "more/001.png", "one.png"]
    assert not warned


def test_links_around_in_a_circle_and_into_other_classes_are_named(tmp_path, warned):
    name = make(tmp_path, {"cat": 2, "dog": 2})
    (tmp_path / "cat" / "circle").symlink_to(tmp_path / "cat")
    (tmp_path / "cat" / "above").symlink_to(tmp_path.parent)
    (tmp_path / "cat" / "dogs").symlink_to(tmp_path / "dog")
    (tmp_path / "cat" / "itself").symlink_to("itself")
    (tmp_path / "cat" / "nowhere").symlink_to("absent")
    (tmp_path / "absent class").symlink_to("absent")
    made = task(name)
    assert made.class_names == ("cat", "dog")
    assert names_of(made) == ["000.png", "001.png"]
    for file, reason in {
        "cat/circle": f"the same folder is read as {tmp_path}/cat",
        "cat/above": f"it is a link to a folder around {tmp_path}",
        "cat/dogs": f"the same folder is read as {tmp_path}/dog",
        "cat/itself": "Too many levels of symbolic links",
        "cat/nowhere": "No such file or directory",
        "absent class": "No such file or directory",
    }.items():
        assert f"Left out {tmp_path}/{file}: {reason}" in warned


def specials(folder):
    """Makes a FIFO, a socket, a link to a device and a broken link, with names of images."""
    os.mkfifo(folder / "fifo.jpg")
    here = os.getcwd()
    os.chdir(folder)  # The address of a socket may have only 108 bytes.
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("socket.jpg")
    os.chdir(here)
    (folder / "device.jpg").symlink_to("/dev/zero")
    (folder / "broken.jpg").symlink_to("absent.jpg")
    return {
        "fifo.jpg": "The path is a FIFO",
        "socket.jpg": "The path is a socket",
        "device.jpg": "The path is a device",
        "broken.jpg": "No such file",
    }


def test_only_regular_files_of_a_folder_are_opened(tmp_path):
    name = make(tmp_path, {"cat": 2, "dog": 2})
    expected = specials(tmp_path / "dog")
    with pytest.raises(ValueError, match="4 of 8 images cannot be decoded") as error:
        task(name)
    for file, reason in expected.items():
        assert f"{tmp_path}/dog/{file}: " in str(error.value)
        assert reason in str(error.value)
    assert task(name, skip_corrupt=True).num_examples == 2


def test_a_folder_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    def scandir(folder="."):
        if os.path.basename(folder) == "locked":
            raise PermissionError(13, "Permission denied", folder)
        return plain(folder)

    name = make(tmp_path, {"cat": 2, "dog": 2, "cat/locked": 2})
    plain = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match=r"cat/locked: .*Permission denied"):
        task(name)
    assert task(name, skip_corrupt=True).num_examples == 2


def test_only_regular_files_of_a_list_are_opened(tmp_path):
    make(tmp_path, {"cat": 2, "dog": 2})
    specials(tmp_path / "cat")
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.glob("*/*"))
    lines = [f"{file}\t{file.parent}\n" for file in files if file.name != "broken.jpg"]
    (tmp_path / "list.tsv").write_text("".join(reversed(lines)))
    name = f"labels:{tmp_path}/list.tsv"
    with pytest.raises(ValueError, match=r"3 of 7 images are not regular files, such as .*\.jpg"):
        pretraining_task(name)
    made = pretraining_task(name, skip_corrupt=True)
    assert made.num_examples + made.num_test_examples == 4
    os.mkfifo(tmp_path / "fifo.tsv")
    with pytest.raises(OSError, match="The path is a FIFO"):
        pretraining_task(f"labels:{tmp_path}/fifo.tsv")


@pytest.mark.parametrize("file", [run_directory.CONFIG, run_directory.METRICS, run_directory.MODEL])
def test_only_regular_files_of_a_run_are_opened(tmp_path, file):
    for name in (run_directory.CONFIG, run_directory.METRICS):
        run_directory.write_json(tmp_path / name, {"command": "finetune"})
    (tmp_path / file).unlink(missing_ok=True)
    os.mkfifo(tmp_path / file)
    if file != run_directory.METRICS:
        with pytest.raises(ValueError, match=r"FIFO|without a model\.keras"):
            find_model(tmp_path)
    _, left_out = find_runs([tmp_path])
    assert left_out


def test_a_background_of_another_colour_is_part_of_the_task(tmp_path):
    name = make(tmp_path, {"cat": 2, "dog": 2})
    white, grey = task(name), task(name, background="#808080")
    assert (white.background, grey.background) == ((255, 255, 255), (128, 128, 128))
    assert "background" not in white.identity
    assert grey.identity["background"] == "#808080"
    with pytest.raises(ValueError, match="background='pale': expected the name of a colour"):
        task(name, background="pale")

"""A folder of images as a task: layouts, formats, and everything that is wrong with a folder."""

import io
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bit_keras.data import corrupt_images, folder, pipeline, subsets
from bit_keras.data.decoding import decode
from bit_keras.data.tasks import task
from bit_keras.hyperrule import HyperRule

RGB = np.random.default_rng(0).integers(0, 256, [10, 12, 3], np.uint8)

# The images of each class of a folder of three splits.
SPLITS = {"Training": 2, "Dev": 3, "Test": 4}

# For JPEG: TensorFlow decodes with a fast DCT that is coarse on noise.
RAMP = np.linspace(0, 255, 120).reshape(10, 12).astype(np.uint8)
SMOOTH = np.stack([RAMP, 255 - RAMP, RAMP // 2], axis=-1)


def encoded(image, image_format="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def write(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(RGB) if content is None else content)


def make(root, counts, content=None):
    """Writes so many images to each folder."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            write(root / name / f"{index:03}.png", content)
    return f"folder:{root}"


def paths(examples):
    return [element["path"].decode() for element in examples.elements().as_numpy_iterator()]


def grey(value, height=4, width=4):
    return encoded(np.full([height, width, 3], value, np.uint8))


def test_held_out_split(tmp_path):
    name = make(tmp_path, {"dog": 10, "cat": 20, "eel": 2})
    made = task(name)
    assert made.name == name
    assert made.class_names == ("cat", "dog", "eel")
    assert made.image_size == RGB.shape[:2]
    assert made.flip is made.random_crop is True
    np.testing.assert_array_equal(np.bincount(made.train.labels), [16, 8, 1])
    np.testing.assert_array_equal(np.bincount(made.test.labels), [4, 2, 1])
    assert made.train.labels.dtype == np.int64
    train, test = paths(made.train), paths(made.test)
    assert train == sorted(train)
    assert test == sorted(test)
    assert len(set(train + test)) == 32
    for examples in (made.train, made.test):
        for path, label in zip(paths(examples), examples.labels, strict=True):
            assert made.class_names[label] in path


def test_the_split_depends_on_the_names_in_the_folder_alone(tmp_path):
    held_out = []
    for root in (tmp_path / "here", tmp_path / "there"):
        made = task(make(root, {"cat": 10, "dog": 10}))
        held_out.append([path.removeprefix(str(root)) for path in paths(made.test)])
    assert held_out[0] == held_out[1]
    # Not the same places in every class, as the first or last ones would be.
    cats, dogs = held_out[0][:2], held_out[0][2:]
    assert [path[-7:] for path in cats] != [path[-7:] for path in dogs]


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_given_splits(tmp_path, test):
    made = task(
        make(tmp_path, {"train/cat": 3, "train/dog": 1, f"{test}/cat": 1, f"{test}/dog": 2})
    )
    assert made.class_names == ("cat", "dog")
    assert list(made.train.labels) == [0, 0, 0, 1]
    assert list(made.test.labels) == [0, 1, 1]
    assert all(path.startswith(f"{tmp_path}/train/") for path in paths(made.train))
    assert all(path.startswith(f"{tmp_path}/{test}/") for path in paths(made.test))


def test_a_validation_split_beside_a_test_split(tmp_path):
    counts = {f"{split}/{label}": count for split, count in SPLITS.items() for label in "ab"}
    made = task(make(tmp_path, counts))
    assert (made.num_examples, made.num_test_examples, made.note) == (4, 8, "")
    assert made.validation.num_examples == 6
    assert list(made.validation.labels) == [0, 0, 0, 1, 1, 1]
    assert all(path.startswith(f"{tmp_path}/Dev/") for path in paths(made.validation))
    assert made.whole is None


def test_a_validation_split_alone_is_the_test_split_and_this_is_said(tmp_path):
    made = task(make(tmp_path, {"TRAIN/a": 1, "TRAIN/b": 1, "valid/a": 2, "valid/b": 1}))
    assert (made.num_test_examples, made.validation) == (3, None)
    assert f"{tmp_path} has no test split" in made.note
    assert "'valid'" in made.note


def test_the_whole_of_an_unsplit_folder(tmp_path):
    made = task(make(tmp_path, {"a": 5, "b": 6}))
    assert sorted(paths(made.whole)) == sorted(paths(made.train) + paths(made.test))
    assert made.location == str(tmp_path)


def test_a_folder_without_splits_for_pretraining_is_refused_with_splits(tmp_path):
    make(tmp_path, {"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 1})
    with pytest.raises(ValueError, match="Give the folder of the training split"):
        folder.list_images(tmp_path)


def test_classes_may_be_called_like_splits(tmp_path):
    assert task(make(tmp_path, {"train": 2, "car": 2})).class_names == ("car", "train")


def test_which_files_are_images(tmp_path):
    make(tmp_path, {"cat": 1, "dog": 2, ".cache": 3})
    for name in ("a.JPG", "b.jpeg", "c.Png", "nested/deeper/d.png"):
        write(tmp_path / "cat" / name)
    for name in (".hidden.png", ".git/e.png"):
        write(tmp_path / "cat" / name)
    write(tmp_path / "cat" / "notes.txt", b"No image.")
    write(tmp_path / "stray.png")
    made = task(f"folder:{tmp_path}")
    assert made.class_names == ("cat", "dog")
    found = sorted(paths(made.train) + paths(made.test))
    names = ["000.png", "a.JPG", "b.jpeg", "c.Png", "nested/deeper/d.png"]
    assert [path for path in found if "/cat/" in path] == [
        f"{tmp_path}/cat/{name}" for name in names
    ]


def test_home_and_relative_paths(tmp_path, monkeypatch):
    make(tmp_path / "birds", {"owl": 2, "wren": 2})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert task("folder:~/birds").num_classes == 2
    monkeypatch.chdir(tmp_path)
    made = task("folder:birds")
    monkeypatch.chdir("/")
    assert len(list(made.train.dataset())) == 2


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(4, 9), (4, 9), (4, 9)], (4, 9)),
        ([(4, 9), (1, 1), (50, 50)], (6, 6)),
        ([(96, 95), (95, 96), (96, 95)], (95, 95)),  # stays small
        ([(1, 9216), (9216, 1), (9216, 1)], (96, 96)),  # stays large
    ],
)
def test_image_size_is_the_one_of_the_median_area(sizes, expected):
    assert folder._typical_size(sizes) == expected


def test_image_size_is_of_the_training_images(tmp_path):
    for split, side in (("train", 6), ("test", 9)):
        make(tmp_path / split, {"cat": 1, "dog": 1}, grey(0, side, side))
    assert task(f"folder:{tmp_path}").image_size == (6, 6)


IMAGES = {
    "jpeg": (encoded(SMOOTH, "JPEG", quality=95, subsampling=0), SMOOTH, 12),
    "grey jpeg": (encoded(SMOOTH[..., 0], "JPEG", quality=95), SMOOTH[..., :1], 12),
    "cmyk jpeg": (
        encoded(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=95),
        SMOOTH,
        12,
    ),
    "grey png": (encoded(RGB[..., 0]), RGB[..., :1], 0),
    "two-colour png": (
        encoded(Image.fromarray(RGB[..., 0] > 99)),
        (RGB[..., :1] > 99) * np.uint8(255),
        0,
    ),
    "palette png": (encoded(Image.fromarray(RGB).quantize(256)), RGB, 0),
    "16-bit grey png": (encoded(RGB[..., 0].astype(np.uint16) * 257), RGB[..., :1], 0),
    "16-bit rgb png": (tf.io.encode_png(RGB.astype(np.uint16) * 257).numpy(), RGB, 0),
    "bmp": (encoded(RGB, "BMP"), RGB, 0),
    "grey bmp": (encoded(RGB[..., 0], "BMP"), RGB[..., :1], 0),
    "gif": (encoded(Image.fromarray(RGB).quantize(256), "GIF"), RGB, 0),
    "animated gif": (
        encoded(
            Image.fromarray(RGB).quantize(256),
            "GIF",
            save_all=True,
            append_images=[Image.fromarray(RGB[::-1]).quantize(256)],
        ),
        RGB,
        0,
    ),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_every_kind_of_image_becomes_rgb(tmp_path, kind):
    content, expected, tolerance = IMAGES[kind]
    suffix = kind.split()[-1]
    for name in ("cat", "dog"):
        for index in range(2):
            write(tmp_path / name / f"{index}.{suffix}", content)
    made = task(f"folder:{tmp_path}")
    assert made.image_size == RGB.shape[:2]
    decoded = made.test.dataset().map(lambda example: decode(example["image"]))
    for image in decoded.as_numpy_iterator():
        assert image.dtype == np.uint8
        assert image.shape == RGB.shape
        assert np.abs(image.astype(int) - expected).max() <= tolerance


def test_batches_of_a_folder(tmp_path):
    for index, name in enumerate(("cat", "dog", "eel")):
        make(tmp_path, {name: 5}, grey(100 * index, 4 + index, 9))
    made = task(f"folder:{tmp_path}")
    rule = HyperRule.for_task(made.num_examples, made.image_size)
    rule = rule.scaled(batch_size=5, steps=4, resize=10, crop=8)
    for batches in (
        pipeline.train_batches(made, rule),
        pipeline.test_batches(made, rule.crop, 2),
        pipeline.train_batches(subsets.few_shot(made, 2), rule),
    ):
        for images, labels in batches.as_numpy_iterator():
            assert images.shape[1:] == (8, 8, 3)
            np.testing.assert_allclose(
                images[:, 0, 0, 0] * 127.5 + 127.5, 100 * labels.argmax(axis=1), atol=1e-4
            )


BROKEN = {
    "truncated.jpg": encoded(np.tile(RGB, [10, 10, 1]), "JPEG")[:1500],
    "truncated.png": encoded(np.tile(RGB, [10, 10, 1]))[:300],
    "text.jpg": b"This is no image.",
    "empty.gif": b"",
    "short.bmp": b"BM",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_named(tmp_path, name):
    made = make(tmp_path, {"cat": 3, "dog": 3})
    write(tmp_path / "dog" / name, BROKEN[name])
    with pytest.raises(ValueError, match="1 of 7 images cannot be decoded") as error:
        task(made)
    assert f"{tmp_path}/dog/{name}: " in str(error.value)
    assert "skip_corrupt=True" in str(error.value)
    assert "{{" not in str(error.value)


def test_broken_images_are_skipped_on_request(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(
        corrupt_images.logging, "warning", lambda text, *args: warnings.append(text % args)
    )
    made = make(tmp_path, {"cat": 3, "dog": 3})
    for name, content in BROKEN.items():
        write(tmp_path / "dog" / name, content)
    made = task(made, skip_corrupt=True)
    assert made.num_examples + made.num_test_examples == 6
    assert len(list(pipeline.test_batches(made, HyperRule.for_task(4, (4, 4)).crop, 1))) == 2
    assert len(warnings) == len(BROKEN)
    for name in BROKEN:
        assert any(str(tmp_path / "dog" / name) in text for text in warnings)


def test_at_most_ten_broken_images_are_listed(tmp_path):
    make(tmp_path, {"cat": 3, "dog": 12}, b"")
    with pytest.raises(ValueError, match="15 of 15 images cannot be decoded") as error:
        task(f"folder:{tmp_path}")
    assert str(error.value).count(f"{tmp_path}/") == 10
    assert str(error.value).endswith("and 5 more")


def test_a_class_of_broken_images_is_missed(tmp_path):
    make(tmp_path, {"cat": 3})
    make(tmp_path, {"dog": 3}, b"")
    with pytest.raises(ValueError, match="dog has too few images, 0"):
        task(f"folder:{tmp_path}", skip_corrupt=True)


def test_an_unreadable_image(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    make(tmp_path, {"cat": 2, "dog": 2})
    monkeypatch.setattr(corrupt_images, "read_regular_file", refuse)
    with pytest.raises(ValueError, match="Permission denied"):
        task(f"folder:{tmp_path}")


def test_progress_is_shown_for_many_images_only(tmp_path, monkeypatch, capsys):
    name = make(tmp_path, {"cat": 2, "dog": 2})
    task(name)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(corrupt_images, "_SHOW_PROGRESS_ABOVE", 3)
    task(name)
    assert capsys.readouterr().err == "", "this is no terminal"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    task(name)
    assert "4/4" in capsys.readouterr().err


def test_no_path():
    with pytest.raises(ValueError, match="folder:/path/to/images"):
        task("folder:")


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no folder {tmp_path}/absent: expected"):
        task(f"folder:{tmp_path}/absent")


def test_a_file_instead_of_a_folder(tmp_path):
    write(tmp_path / "images.zip", b"")
    with pytest.raises(ValueError, match=r"images.zip is a file: expected"):
        task(f"folder:{tmp_path}/images.zip")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({".": 3}, "{root} has no subfolders: expected PATH/CLASS/IMAGE"),
        (
            {"train/cat": 3, "train/dog": 3, "test": 3},
            "with the name of the class. If their classes are not known, give {root}/train as",
        ),
        ({"train": 3, "test": 3}, "{root}/train has no subfolders: expected PATH/CLASS/IMAGE"),
        ({"cat": 0, "dog": 0}, "{root} has no images in its 2 subfolders: expected images"),
        ({"cat": 3, "dog": 0}, "{root}/dog has too few images, 0: expected at least two"),
        (
            {"cat": 3, "dog": 1},
            "{root}/dog has too few images, 1: expected at least two, one to train on",
        ),
        ({"cat": 3}, "{root} has only one class, 'cat': expected at least two"),
        (
            {"train/cat": 3, "train/dog": 3, "test/cat": 1, "test/dog": 0},
            "{root}/test/dog has too few images, 0: expected at least one;",
        ),
        (
            {"train/cat": 1, "train/dog": 1, "test/cat": 1, "test/eel": 1},
            "{root}/train and {root}/test must have the same classes, but these are in only one "
            "of them: dog, eel",
        ),
        (
            {"train/cat": 1, "test/cat": 1, "val/cat": 1},
            "{root}/train has only one class, 'cat'",
        ),
        (
            {
                "train/cat": 1,
                "train/dog": 1,
                "val/cat": 1,
                "val/eel": 1,
                "test/cat": 1,
                "test/dog": 1,
            },
            "{root}/train and {root}/val must have the same classes",
        ),
        ({"train/cat": 1, "test/cat": 1, "eval/cat": 1}, "are named like splits"),
    ],
)
def test_a_folder_that_is_laid_out_in_another_way(tmp_path, counts, message):
    with pytest.raises(ValueError, match=r"expected|same classes") as error:
        task(make(tmp_path, counts))
    assert message.format(root=tmp_path) in str(error.value)


def test_another_choice_of_files_is_another_source(tmp_path):
    sources = []
    for name, files in (("one", "ab"), ("same", "ab"), ("other", "ac")):
        for split in ("train", "test"):
            for label in ("x", "y"):
                for file in files:
                    path = tmp_path / name / split / label / f"{file}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(tf.io.encode_png(np.zeros([8, 8, 3], "uint8")).numpy())
        sources.append(task(f"folder:{tmp_path / name}").source)
    assert sources[0] == sources[1] != sources[2]

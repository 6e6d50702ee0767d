"""The catalogue of published files, and loading each kind by name from a local server."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import TINY, images, randomize, shrink

import bit_keras
from bit_keras.checkpoints.catalog import CHECKPOINTS
from bit_keras.models import zoo

# Published sizes in bytes with 1000 classes, and computed sizes with 21 843 classes.
BYTES = {
    "R50x1": (102_242_668, 273_071_896),
    "R101x1": (178_256_468, 349_085_696),
    "R50x3": (869_321_580, 1_381_642_520),
    "R152x2": (945_476_668, 1_287_051_752),
    "R101x3": (1_551_830_100, 2_064_151_040),
    "R152x4": (3_746_270_104, 4_429_336_900),
}

VTAB = [
    "caltech101",
    "diabetic_retinopathy",
    "dtd",
    "oxford_flowers102",
    "oxford_iiit_pet",
    "resisc45",
    "sun397",
    "cifar100",
    "eurosat",
    "patch_camelyon",
    "smallnorb-elevation",
    "svhn",
    "dsprites-orientation",
    "smallnorb-azimuth",
    "clevr-distance",
    "clevr-count",
    "dmlab",
    "kitti-distance",
    "dsprites-xpos",
]


def test_the_catalogue_has_every_published_file_once():
    expected = {f"BiT-{family}-{arch}.npz" for family in "SM" for arch in BYTES}
    expected |= {f"BiT-M-{arch}-ILSVRC2012.npz" for arch in BYTES}
    expected |= {
        f"vtab/BiT-M-{arch}-run{run}-{task}.npz"
        for arch in ("R50x1", "R101x1", "R50x3", "R101x3", "R152x4")
        for run in range(3)
        for task in VTAB
    }
    expected |= {"distill/R50x1_224.npz", "distill/R50x1_160.npz"}
    expected |= {"distill/R152x2_T_224.npz", "distill/R152x2_T_384.npz"}
    assert Counter(entry.file for entry in CHECKPOINTS.values()) == Counter(expected)
    assert len(expected) == len(CHECKPOINTS) == 307


def test_counts_of_each_kind():
    kinds = Counter(name.split("/")[0].split("-")[0] for _, name in CHECKPOINTS)
    assert kinds == {"upstream": 12, "ilsvrc2012": 6, "vtab": 285, "distilled": 2, "teacher": 2}


@pytest.mark.parametrize("arch", BYTES)
def test_sizes_of_files_with_1000_and_21843_classes(arch):
    small, large = BYTES[arch]
    published = CHECKPOINTS[f"BiT-M-{arch}", "ilsvrc2012"]
    assert (published.size, published.size_is_published) == (small, True)
    assert CHECKPOINTS[f"BiT-S-{arch}", "upstream"].size == small
    assert CHECKPOINTS[f"BiT-M-{arch}", "upstream"].size == large
    others = [entry for entry in CHECKPOINTS.values() if entry.name != "ilsvrc2012"]
    assert not any(entry.size_is_published for entry in others)


def test_the_size_of_a_small_head(tmp_path):
    entry = CHECKPOINTS["BiT-M-R50x1", "vtab/run0/cifar100"]
    bit_keras.save_npz(bit_keras.create(entry.model, classes=100), tmp_path / "file.npz")
    assert (tmp_path / "file.npz").stat().st_size == entry.size


def test_classes_resolution_and_accuracy_of_entries():
    entry = CHECKPOINTS["BiT-M-R152x4", "vtab/run2/dtd"]
    assert (entry.classes, entry.head, entry.resolution) == (47, "VTAB-1k dtd", 480)
    assert CHECKPOINTS["BiT-M-R50x1", "vtab/run0/svhn"].resolution == 128
    assert CHECKPOINTS["BiT-M-R50x1", "upstream"].classes == 21_843
    assert CHECKPOINTS["BiT-M-R152x2", "teacher-384"].resolution == 384
    for entry in CHECKPOINTS.values():
        assert (entry.accuracy is None) == (entry.reported_by is None)
        # Only a file with these classes has an accuracy of its own.
        assert entry.accuracy is None or entry.head == "ILSVRC-2012"
        assert entry.accuracy is None or entry.name != "upstream"
        assert entry.model in bit_keras.list_models()


def test_accuracies_are_of_the_files_and_those_of_the_readme():
    known = {key: entry for key, entry in CHECKPOINTS.items() if entry.accuracy is not None}
    fine_tuned = {name for name, checkpoint in CHECKPOINTS if checkpoint == "ilsvrc2012"}
    assert {(name, "ilsvrc2012") for name in fine_tuned} < known.keys()
    row = re.compile(r'^\| `(\S+)`, `"(\S+)"` \| (\S+) % \((\d+)\) \|', re.MULTILINE)
    rows = row.findall((Path(__file__).parents[2] / "README.md").read_text())
    assert len(rows) == 7
    for model, checkpoint, accuracy, side in rows:
        entry = known[model, checkpoint]
        assert entry.accuracy == float(accuracy)
        assert entry.reported_by == f"timm, at {side} pixels"


def test_lists_of_checkpoints_by_model():
    names = bit_keras.list_checkpoints("BiT-M-R50x1")
    assert names[:4] == ["upstream", "ilsvrc2012", "distilled-224", "distilled-160"]
    assert names[4:] == [f"vtab/run{run}/{task}" for run in range(3) for task in sorted(VTAB)]
    assert bit_keras.list_checkpoints("BiT-S-R152x4") == ["upstream"]
    assert bit_keras.list_checkpoints("BiT-L-R50x1") == []
    with pytest.raises(ValueError, match="nearest name is 'BiT-M-R50x1'"):
        bit_keras.list_checkpoints("BiT-M-R50")


def output(model):
    return keras.ops.convert_to_numpy(model(images(1, 40, 40, 3)))


@pytest.mark.parametrize(
    ("model", "name", "file"),
    [
        ("BiT-M-R50x1", "upstream", "BiT-M-R50x1.npz"),
        ("BiT-S-R50x1", "upstream", "BiT-S-R50x1.npz"),
        ("BiT-M-R50x1", "ilsvrc2012", "BiT-M-R50x1-ILSVRC2012.npz"),
        ("BiT-M-R50x1", "vtab/run0/cifar100", "vtab/BiT-M-R50x1-run0-cifar100.npz"),
        ("BiT-M-R50x1", "distilled-224", "distill/R50x1_224.npz"),
        ("BiT-M-R152x2", "teacher-384", "distill/R152x2_T_384.npz"),
    ],
)
def test_weights_by_name(model, name, file, server, tmp_path, monkeypatch):
    shrink(monkeypatch, model)
    source = randomize(bit_keras.create(model, classes=7))
    bit_keras.save_npz(source, tmp_path / "source.npz")
    content = server.files[file] = (tmp_path / "source.npz").read_bytes()
    # The published size is that of the full network.
    entry = replace(CHECKPOINTS[model, name], size=len(content))
    monkeypatch.setitem(CHECKPOINTS, (model, name), entry)

    first = bit_keras.create(model, pretrained=name)
    np.testing.assert_array_equal(output(first), output(source))
    server.close()
    constructor = getattr(bit_keras, model.replace("-", "_"))
    again = constructor(pretrained=True if name == "upstream" else name)
    np.testing.assert_array_equal(output(again), output(source))
    assert bit_keras.create(model, pretrained=name, classes=3).output_shape == (None, 3)
    assert server.requests == [0]


def test_a_file_of_another_than_the_published_size_is_refused(server, tmp_path, monkeypatch):
    shrink(monkeypatch)
    bit_keras.save_npz(bit_keras.ResNetV2(**TINY), tmp_path / "source.npz")
    server.files["BiT-M-R50x1-ILSVRC2012.npz"] = (tmp_path / "source.npz").read_bytes()
    with pytest.raises(bit_keras.DownloadError, match="published file has 102242668"):
        bit_keras.create("BiT-M-R50x1", pretrained="ilsvrc2012")


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("BiT-S-R50x1", "ilsvrc2012", "the models that have it are BiT-M-R50x1, .*, BiT-M-R152x4"),
        ("BiT-M-R101x1", "distilled-224", r"the models that have it are BiT-M-R50x1\."),
        ("BiT-M-R50x1", "teacher-384", r"the models that have it are BiT-M-R152x2\."),
        (
            "BiT-M-R152x2",
            "vtab/run0/dtd",
            "the models that have it are BiT-M-R50x1, BiT-M-R101x1, ",
        ),
        ("BiT-S-R50x1", "vtab/run1/dmlab", "the models that have it are BiT-M-R50x1, "),
        ("BiT-L-R50x1", True, "never released"),
        ("BiT-L-R50x1", "distilled-224", "never released"),
        (
            "BiT-M-R50x1",
            "distiled-224",
            "the name of a checkpoint; the nearest .*'distilled-224'",
        ),
        ("BiT-M-R50x1", "vtab/run3/dmlab", "nearest name is 'vtab/run0/dmlab'"),
    ],
)
def test_a_checkpoint_that_a_model_does_not_have_is_refused(model, pretrained, message, server):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        bit_keras.create(model, pretrained=pretrained)
    assert not server.requests


def test_the_refusal_names_all_models_that_have_the_checkpoint():
    for name in ("ilsvrc2012", "vtab/run2/svhn", "teacher-224", "distilled-160"):
        owners = {model for model, other in CHECKPOINTS if other == name}
        for model in set(zoo.VARIANTS) - owners:
            with pytest.raises(ValueError, match="BiT-M-") as refusal:
                bit_keras.create(model, pretrained=name)
            if not model.startswith("BiT-L"):
                listed = str(refusal.value).split("the models that have it are ")[1].split(". ")[0]
                assert set(listed.split(", ")) == owners


def test_another_network_under_a_published_name_is_set_aside(server, cache, tmp_path, monkeypatch):
    shrink(monkeypatch)
    right = randomize(bit_keras.create("BiT-M-R50x1", classes=7))
    wrong = bit_keras.ResNetV2(depths=(1, 2, 1, 1), width=0.5, classes=7)
    for name, network in {"right": right, "wrong": wrong}.items():
        bit_keras.save_npz(network, tmp_path / f"{name}.npz")
    server.files["BiT-M-R50x1.npz"] = (tmp_path / "wrong.npz").read_bytes()
    with pytest.raises(bit_keras.CheckpointError, match="the next call downloads it again"):
        bit_keras.create("BiT-M-R50x1", pretrained=True)
    assert not (cache / "BiT-M-R50x1.npz").exists()
    server.files["BiT-M-R50x1.npz"] = (tmp_path / "right.npz").read_bytes()
    model = bit_keras.create("BiT-M-R50x1", pretrained=True)
    np.testing.assert_array_equal(output(model), output(right))

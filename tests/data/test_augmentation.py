"""Augmentations by name: which they are, and what is said where they cannot be had."""

import dataclasses
import sys

import pytest

import bit_keras
from bit_keras.data import augmentation


def test_names():
    assert augmentation.checked(None) is None
    assert augmentation.checked("cutmix") == "cutmix"
    assert augmentation.checked("cutmix,rand_augment,cutmix") == "rand_augment,cutmix"


@pytest.mark.parametrize(
    ("names", "nearest"),
    [("randaugment", "rand_augment"), ("CutMix", "cutmix"), ("rand_augment,cutmx", "cutmix")],
)
def test_an_unknown_name(names, nearest):
    with pytest.raises(ValueError, match=rf"nearest is '{nearest}'.*'rand_augment' or 'cutmix'"):
        augmentation.checked(names)


def test_an_empty_name():
    with pytest.raises(ValueError, match="Unknown augmentation ''"):
        augmentation.checked("")


def test_arguments_of_the_pipeline():
    digits = bit_keras.task("digits")
    assert augmentation.arguments(None, digits) == {}
    assert set(augmentation.arguments("cutmix", digits)) == {"mix"}
    assert set(augmentation.arguments("rand_augment,cutmix", digits)) == {"distort", "mix"}


@pytest.mark.parametrize(("random_crop", "geometric"), [(True, True), (False, False)])
def test_no_shift_where_a_crop_would_change_the_label(random_crop, geometric, monkeypatch):
    seen = []
    monkeypatch.setattr(augmentation, "rand_augment", lambda **arguments: seen.append(arguments))
    task = dataclasses.replace(bit_keras.task("digits"), random_crop=random_crop)
    augmentation.arguments("rand_augment", task)
    assert seen == [{"geometric": geometric}]


@pytest.fixture(params=["missing", "broken", "without the layer"])
def unusable(request, tmp_path, monkeypatch):
    """Has keras-cv fail; returns what the message must say of it."""
    if request.param == "missing":
        monkeypatch.setitem(sys.modules, "keras_cv", None)
        return "ModuleNotFoundError"
    monkeypatch.delitem(sys.modules, "keras_cv", raising=False)
    package = tmp_path / "site" / "keras_cv"
    package.mkdir(parents=True)
    content = {
        "broken": "raise AttributeError('module numpy has no attribute float_')",
        "without the layer": "import types; layers = types.ModuleType('keras_cv.layers')",
    }
    (package / "__init__.py").write_text(content[request.param])
    monkeypatch.syspath_prepend(package.parent)
    return "AttributeError: module"


@pytest.mark.parametrize("train", [bit_keras.finetune, bit_keras.pretrain])
@pytest.mark.parametrize("names", ["rand_augment", "cutmix"])
def test_unusable_keras_cv_leaves_nothing(train, names, unusable, tmp_path):
    message = f"Augmentation needs keras-cv, .*{unusable}.*pip install 'keras-cv.*train without"
    with pytest.raises(ImportError, match=message):
        train("R14x0.5", "digits", augmentation=names, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    sys.modules.pop("keras_cv", None)

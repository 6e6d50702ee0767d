"""A folder of 200 untidy pictures is trained on, and each one that is left out is named."""

import json
import os

import pytest
from absl import logging
from data.untidy_folder import CLASSES, make_untidy_folder

from bit_keras.cli import main
from bit_keras.data.tasks import task

# Files that are no pictures are counted by their suffixes, and not named.
COUNTED = {".txt": "1 .txt", ".db": "1 .db"}


@pytest.fixture
def untidy(tmp_path):
    return tmp_path / "pictures", *make_untidy_folder(tmp_path / "pictures")


@pytest.fixture
def warned(monkeypatch):
    texts = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: texts.append(text % values))
    return texts


def check_warnings(texts, root, left_out):
    for file, reason in left_out.items():
        if reason in COUNTED:
            assert any(COUNTED[reason] in text for text in texts)
        else:
            (text,) = (text for text in texts if text.startswith(f"Left out {root / file}"))
            assert reason in text.removeprefix(f"Left out {root / file}")


def test_each_picture_that_is_left_out_is_named_with_its_reason(untidy, warned):
    root, readable, left_out = untidy
    assert len(readable) + len(left_out) >= 200
    made = task(f"folder:{root}", skip_corrupt=True)
    assert made.class_names == tuple(sorted(CLASSES))
    found = [
        os.path.relpath(os.fsdecode(element["path"]), root)
        for examples in (made.train, made.test)
        for element in examples.elements().as_numpy_iterator()
    ]
    assert sorted(found) == sorted(readable)
    check_warnings(warned, root, left_out)


@pytest.mark.slow
def test_it_is_trained_on_evaluated_and_exported(untidy, warned, tmp_path, monkeypatch):
    root, readable, left_out = untidy
    monkeypatch.chdir(tmp_path)
    data = [f"--task=folder:{root}", "--skip_corrupt"]
    run = ["--steps=60", "--batch_size=8", "--resize=36", "--crop=32", "--output_dir=run"]
    assert main(["finetune", *data, *run]) == 0
    check_warnings(warned, root, left_out)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    total = metrics["configuration"]["num_examples"] + metrics["num_test_examples"]
    assert total == len(readable)
    assert main(["evaluate", "run", *data, "--output_dir=evaluated"]) == 0
    assert main(["export", "run", "--output=exported"]) == 0
    assert (tmp_path / "exported" / "saved_model.pb").exists()

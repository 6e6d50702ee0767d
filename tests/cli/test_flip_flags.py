"""`--noflip` and `--norandom_crop`, for images whose label a flip or a crop changes."""

import json

import pytest
from networks import QuickResNet

from bit_keras.cli.main import main
from bit_keras.models import zoo

pytestmark = pytest.mark.usefixtures("no_drawing")


def test_the_run_keeps_flips_and_random_crops(tmp_path, monkeypatch, eager, capsys):
    monkeypatch.setattr(zoo, "create", lambda name, *, classes, **_: QuickResNet(classes))
    command = ["finetune", "--model=BiT-S-R50x1", "--weights=none", "--steps=1", "--crop=32"]
    command += ["--batch_size=4", f"--output_dir={tmp_path}"]
    assert main([*command, "--flip", "--norandom_crop"]) == 0
    kept = json.loads((tmp_path / "config.json").read_text())
    assert (kept["flip"], kept["random_crop"]) == (True, False)
    assert main([*command, "--noflip"]) == 2  # It is what the task "digits" says by itself.
    assert "flip is True there and not given here; random_crop is False" in capsys.readouterr().err
    for name in ("pretrain", "distill", "fewshot", "finetune"):
        assert main([name, "--help"]) == 0
        assert "--flip " in capsys.readouterr().out

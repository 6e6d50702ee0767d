"""The command line, as somebody types it."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest

from bit_keras.cli.main import COMMANDS, main


def test_help(capsys):
    for arguments in (["--help"], ["help"]):
        assert main(arguments) == 0
        assert "finetune" in capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert main([name, "--help"]) == 0
        text = capsys.readouterr().out
        for _, flag, _, _ in command.flags:
            assert f"--{flag}" in text


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bit_keras 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetun"], "Unknown command 'finetun'; the nearest is 'finetune'"),
        (["finetune", "--stps=3"], "Unknown command line flag 'stps'"),
        (["finetune", "--steps=many"], "steps"),
        (["finetune", "3"], "Unexpected argument '3'"),
        (["finetune", "--task=digit"], "Did you mean 'digits'"),
        (["finetune", "--model=BiT-M-R50"], "the nearest name is 'BiT-"),
        (["finetune", "--model=BiT-M-R50x1", "--weights=none.npz"], "no weight file none.npz"),
        (["finetune", "--steps=0"], "steps must be"),
        (["finetune", "--base_lr=inf"], "base_lr must be above 0"),
        (["finetune", "--seed=-1"], "seed must be"),
        (["finetune", "--weights=none.npz"], "no weight file none.npz"),
        (["finetune", "--weights=ilsvrc2012"], "no published weights of R14x0.5"),
        (["finetune", "--augmentation=cut_mix"], "the nearest is 'cutmix'"),
        (["pretrain", "--augmentation=randaug"], "the nearest is 'rand_augment'"),
        (["finetune", "--task=folder:/none"], "There is no folder /none"),
        (["finetune", "--output_dir=/proc/none"], "cannot be written"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("bit-keras: ")
    assert message in said
    assert not list(tmp_path.iterdir())


def test_the_console_script_is_this_program():
    (script,) = metadata.entry_points(group="console_scripts", name="bit-keras")
    assert script.load() is main


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("bit_keras.data.tasks.task", lambda *_: int("not a user's fault"))
    with pytest.raises(ValueError, match="invalid literal"):
        main(["finetune"])


def test_corrupt_images_are_named_and_skipped_only_with_the_flag(tmp_path, capsys, monkeypatch):
    import numpy as np
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((8, 8, 3), 40 * i, "uint8")
            (tmp_path / "data" / name / f"{i}.jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())
    broken = tmp_path / "data" / "a" / "3.jpg"
    broken.write_bytes((tmp_path / "data" / "a" / "0.jpg").read_bytes()[:100])
    arguments = ["finetune", "--task=folder:data", "--steps=2", "--batch_size=2"]
    assert main(arguments) == 2
    assert str(broken) in capsys.readouterr().err
    assert main([*arguments, "--skip_corrupt"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["configuration"]["num_examples"] + metrics["num_test_examples"] == 6


@pytest.mark.slow
def test_it_runs_as_a_program(tmp_path):
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "bit_keras",
            "finetune",
            "--steps=2",
            "--batch_size=4",
            "--output_dir=run",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "2/2" in result.stdout
    assert "Test accuracy" in result.stdout
    assert (tmp_path / "run" / "metrics.json").exists()
    predict = (
        "import keras, bit_keras, numpy; m = keras.models.load_model('run/model.keras'); "
        "print(m.predict(numpy.zeros((1, 32, 32, 3)), verbose=0).shape)"
    )
    shape = subprocess.run(
        [sys.executable, "-c", predict], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert shape.stdout.strip() == "(1, 10)"

"""`bit-keras cost`, as somebody types it."""

import re

import pytest

import bit_keras
from bit_keras.cli.main import main


def test_the_whole_zoo_is_one_table(capsys):
    assert main(["cost"]) == 0
    said = capsys.readouterr().out
    for name in bit_keras.list_models():
        assert name in said
    assert "182.78" in said  # R152x4 with 1000 classes


def test_one_model_item_by_item(capsys):
    assert main(["cost", "--model=BiT-M-R50x1", "--memory_gib=8", "--remat=unit"]) == 0
    said = capsys.readouterr().out
    largest = bit_keras.cost("BiT-M-R50x1", memory_gib=8, remat="unit").largest_batch
    for text in ("68,256,659", "activations", f" {largest} "):
        assert text in said


def test_a_task_is_planned_by_the_rule(capsys):
    assert main(["cost", "--model=BiT-M-R50x1", "--task=digits", "--device=a100"]) == 0
    said = capsys.readouterr().out
    for text in ("23,520,842", "128", "512", "500", "0.26"):
        assert f" {text} " in said


def test_a_flag_replaces_what_the_rule_says(capsys):
    flags = ["--model=BiT-M-R50x1", "--task=digits", "--steps=7", "--batch_size=3"]
    assert main(["cost", *flags]) == 0
    said = capsys.readouterr().out
    assert " 7 " in said
    assert " 512 " not in said


def test_the_papers_pretraining(capsys):
    flags = ["--model=BiT-L-R152x4", "--pretrain", "--device=TPU-v3-core", "--num_devices=512"]
    assert main(["cost", *flags]) == 0
    said = capsys.readouterr().out
    for text in ("12,000.00", "4,096"):
        assert f" {text} " in said
    assert re.search("largest batch that fits +│ +none │", said)
    assert "not enough memory for a single image of BiT-L-R152x4. No dtype and no remat" in said
    assert " 0 " not in said
    assert main(["cost", *flags, "--memory_gib=20"]) == 0
    assert "These fit: --dtype=float32 --remat=unit (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=BiT-M-R50"], "Unknown model 'BiT-M-R50'"),
        (["--model=R50x1", "--pretrain"], "Unknown model 'R50x1'"),
        (["--task=digits", "--pretrain"], "--task and --pretrain were both given"),
        (["--task=digit"], "Did you mean 'digits'"),
        (["--batch_size=0"], "batch_size must be"),
        (["--device=a10"], "Unknown device 'a10'"),
        (["--remat=no"], "remat must be one of"),
        (["--memory_gib=many"], "memory_gib"),
    ],
)
def test_mistakes_get_one_line(flags, message, capsys):
    assert main(["cost", *flags]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert not said.out

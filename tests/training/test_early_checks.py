"""What can be refused before the task is read is refused before it, in Python and by commands."""

import json
import re

import pytest
from networks import quick

import bit_keras
from bit_keras.cli.main import main

# Reading this task fails, so an error about something else was raised before.
TASK = "folder:/no/such/folder"

OPTIONS = {
    "keep=0": "keep",
    "save_every=0": "save_every",
    "batch_split=0": "batch_split",
    "dtype=float33": "float33",
    "held_out=2": "held_out",
    "output_dir={tmp}/file/run": "output directory .* is not a directory",
    "output_dir={tmp}/seeds": "the runs of several seeds",
    "output_dir={tmp}/other": "steps is 7 there .*--overwrite",
    "batch_size=0": "batch_size",
    "base_lr=-1": "base_lr",
    "crop=0": "crop",
    "remat=foo": "remat='foo'; expected 'block' or 'unit'",
    "output_dir=/proc/x": "output directory /proc/x cannot be written",
}
UPSTREAM = {
    "steps=5": r"warmup_steps must be from 0 to 4, .* \(give warmup_steps, such as 0, or more",
    "epochs=0": "epochs",
    "weight_decay=-1": "weight_decay",
    "warmup_steps=-1": "warmup_steps must be an integer of 0 or above, got -1",
    "schedule=stairs": "schedule",
}
CASES = {
    "finetune": OPTIONS
    | {
        "recipe=best": "recipe",
        "augmentation=blur": "augmentation",
        "examples_per_class=0": "examples_per_class must be an integer of at least 1, got 0",
        "seeds=0,0": "seeds=.* distinct integers",
        "seeds=0,1 --output_dir=/proc/x": "output directory /proc/x cannot be written",
        "seeds=0,1 --output_dir={tmp}/other": "holds a single run",
        "resize=20 --crop=30": "crop must not be larger",
        "model=BiT-M-R50x1 --weights={tmp}/missing.npz": "missing.npz",
        "model=BiT-M-R50x1 --weights={tmp}/file": "file",
        "model=BiT-M-R50x1 --weights=ilsvrc2021": "ilsvrc2012",
    },
    "pretrain": OPTIONS | UPSTREAM | {"recipe=best": "recipe", "loss=mse": "loss", "ema=2": "ema"},
    "fewshot": {
        "seeds=a": "seeds",
        "shots=a": "shots",
        "shots=0": "shots=.* distinct integers from 1",
        "shots=1,1": "shots=.* distinct integers",
        "seeds=0,0": "seeds=.* distinct integers",
        "probe --steps=5": "steps: a linear probe does not train",
        "output_dir=/proc/x": "output directory /proc/x cannot be written",
        "output_dir={tmp}/other": "another configuration",
        "steps=0": "steps",
        "recipe=best": "recipe",
        "model=BiT-M-R50x1 --weights={tmp}/missing.npz": "missing.npz",
    },
    "distill": OPTIONS | UPSTREAM | {"temperature=0": "temperature", "weights={tmp}/file": "file"},
    "evaluate": {
        "output_dir={tmp}/file": "file is not a directory",
        "output_dir={tmp}/seeds": "the runs of several seeds",
        "output_dir={tmp}/other": "a run of bit-keras",
        "output_dir=/proc/x": "output directory /proc/x cannot be written",
        "crop=0": "crop must be an integer of at least 1",
        "background=zzz": "background='zzz'",
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds a file, the runs of seeds, another run, and a teacher."""
    path = tmp_path_factory.mktemp("early")
    (path / "file").write_text("text")
    for name in ("seeds/seed-0", "other"):
        (path / name).mkdir(parents=True)
        (path / name / "config.json").write_text(json.dumps({"budget": {"steps": 7}}))
    quick(2).save(path / "teacher.keras")
    return path


@pytest.mark.parametrize(("command", "flag"), [(c, f) for c in CASES for f in CASES[c]])
def test_a_command_refuses_before_it_reads_the_task(command, flag, folder, capsys):
    given = ["--" + word.removeprefix("--") for word in flag.format(tmp=folder).split()]
    teacher = [str(folder / "teacher.keras")] if command in ("distill", "evaluate") else []
    here = [] if "output_dir" in flag else [f"--output_dir={folder / 'new'}"]
    if "held_out" in flag:
        given.append("--eval_every=1")
    assert main([command, *teacher, f"--task={TASK}", *here, *given]) == 2
    message = capsys.readouterr().err
    assert "/no/such/folder" not in message
    assert re.search(CASES[command][flag], message), message
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("command", "flag"), [("evaluate", "weights"), ("distill", "teacher_weights")]
)
@pytest.mark.parametrize("weights", ["missing.npz", "ilsvrc2021"])
def test_weights_of_a_named_model_are_checked_before_the_task_is_read(
    command, flag, weights, folder, capsys
):
    new = f"--output_dir={folder / 'new'}"
    assert main([command, "BiT-M-R50x1", f"--{flag}={weights}", f"--task={TASK}", new]) == 2
    message = capsys.readouterr().err
    assert "/no/such/folder" not in message
    assert weights in message


def test_no_weights_are_meant_by_none(folder, capsys):
    teacher = str(folder / "teacher.keras")
    for command in (["finetune"], ["distill", teacher]):
        new = folder / "none"
        assert main([*command, "--weights=none", f"--task={TASK}", f"--output_dir={new}"]) == 2
        assert "/no/such/folder" in capsys.readouterr().err


def test_python_refuses_before_it_reads_the_task(folder):
    def refused(function, message, *arguments, **options):
        with pytest.raises((ValueError, OSError), match=message):
            function(*arguments, output_dir=options.pop("output_dir", folder / "new"), **options)

    model = quick(2)
    refused(bit_keras.finetune, "steps", model, TASK, budget={"steps": 0})
    refused(bit_keras.finetune, "file is not a dir", model, TASK, output_dir=folder / "file" / "x")
    refused(bit_keras.finetune, "missing.npz", "R14x0.5", TASK, pretrained=folder / "missing.npz")
    refused(bit_keras.finetune, "examples_per_class", model, TASK, examples_per_class=0)
    refused(bit_keras.finetune, "remat='foo'", model, TASK, remat="foo")
    refused(bit_keras.fewshot, "shots", model, TASK, shots=(1, 1))
    refused(bit_keras.fewshot, "file is not a dir", model, TASK, output_dir=folder / "file")
    refused(bit_keras.pretrain, "warmup_steps", "R14x0.5", TASK, budget={"steps": 5})
    refused(bit_keras.distill, "warmup_steps", model, "R14x0.5", TASK, budget={"steps": 5})
    assert not (folder / "new").exists()


def test_other_steps_are_refused_with_what_is_possible(folder):
    with pytest.raises(ValueError, match=r"budget\.steps is 7 there and 9 here") as caught:
        bit_keras.finetune(quick(2), TASK, budget={"steps": 9}, output_dir=folder / "other")
    for words in ("--overwrite", "cannot go on with another number of steps", "model.keras"):
        assert words in str(caught.value)

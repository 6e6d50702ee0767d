"""Directories of finished runs, without any training."""

import dataclasses
import io
import json

from PIL import Image

from bit_keras.data import vtab
from bit_keras.hyperrule import HyperRule

VERSIONS = {"python": "3.11.2", "keras": "3.15.1"}

# A task's number of training images and whether they are small.
_TASKS = {
    "imagenet2012": (1_281_167, False),
    "cifar10": (50_000, True),
    "cifar100": (50_000, True),
    "oxford_iiit_pet": (3680, False),
    "oxford_flowers102": (1020, False),
}
_SMALL_OF_VTAB = {"cifar100", "svhn", "eurosat", "dsprites-xpos", "dsprites-orientation"}


def configuration(task, *, seed=0, recipe="paper", budget=None, **changes):
    """What `finetune` records of a run of BiT-M-R50x1 on a task."""
    count, small = _TASKS.get(task, (1000, task.removeprefix("vtab/") in _SMALL_OF_VTAB))
    model = changes.get("model", "BiT-M-R50x1")
    rule = HyperRule.for_task(count, (32, 32) if small else (500, 500), model, recipe)
    return {
        "command": "finetune",
        "model": model,
        "weights": "upstream",
        "initial_state_sha256": "0" * 64,
        "task": task,
        "num_examples": count,
        "examples_per_class": None,
        "eval_every": None,
        "held_out": None,
        "seed": seed,
        "recipe": recipe,
        "budget": budget or {},
        "rule": dataclasses.asdict(rule.scaled(**(budget or {}))),
        **changes,
    }


def make_run(path, task, accuracy, **arguments):
    """Writes the directory of a run and returns its path."""
    asked = configuration(task, **arguments)
    return write_run(path, asked, test_accuracy=accuracy, seed=asked["seed"])


def write_run(path, asked, **metrics):
    """Writes config.json, metrics.json and a learning curve of four pixels."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(asked))
    content = {**metrics, "configuration": asked, "versions": VERSIONS}
    (path / "metrics.json").write_text(json.dumps(content))
    (path / "learning_curve.png").write_bytes(png())
    return path


def make_vtab(path, accuracy=lambda key: 0.5, keys=tuple(vtab.TASKS), **arguments):
    """Writes a run of each of some tasks of VTAB-1k, and returns their directory."""
    for key in keys:
        make_run(path / key, f"vtab/{key}", accuracy(key), **arguments)
    return path


def png(color=(0, 128, 255)):
    """A picture of four pixels."""
    stream = io.BytesIO()
    Image.new("RGB", (2, 2), color).save(stream, "png")
    return stream.getvalue()

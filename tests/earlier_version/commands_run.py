"""Small runs of the commands, and what they leave."""

import json
from pathlib import Path

_BUDGET = ["--steps=2", "--batch_size=8"]

# Name of the run: the command's words; "{folder}" is the folder of all runs.
RUNS = {
    "finetune": ["finetune", *_BUDGET, "--eval_every=1"],
    "finetune_seeds": ["finetune", *_BUDGET, "--seeds=0,1"],
    "pretrain": ["pretrain", *_BUDGET, "--warmup_steps=1"],
    "distill": ["distill", "{folder}/finetune", *_BUDGET, "--warmup_steps=1"],
    "fewshot": ["fewshot", *_BUDGET, "--shots=1,2", "--seeds=0"],
    "fewshot_probe": ["fewshot", "--probe", "--shots=1,2", "--seeds=0"],
    "evaluate": ["evaluate", "{folder}/finetune"],
}


def _keys(content):
    """Returns the keys of a JSON object, and of the objects inside of it."""
    if isinstance(content, dict):
        return {key: _keys(value) for key, value in content.items()}
    return None


def files_below(directory: Path) -> dict:
    """Returns {file: keys of its JSON object, or None} of all files below a directory."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file() and "tensorboard" not in path.parts:
            name = path.relative_to(directory).as_posix()
            found[name] = _keys(json.loads(path.read_text())) if path.suffix == ".json" else None
    return found

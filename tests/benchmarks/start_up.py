"""From the imports done to the first prediction with a local weight file, ours and PyTorch's way.

    python tests/benchmarks/start_up.py
    python tests/benchmarks/start_up.py --model BiT-M-R152x2

Ours is `create(name, pretrained=PATH)` and a call; theirs is the official PyTorch code's way, done
with transformers' network: build it, read the arrays of the npz, transpose and copy them, call it.
The image is one of 224 x 224. `predict`, which first compiles a graph, and the imports are timed
beside. Each run has a process of its own; they take turns, after one of each that warms the disk's
cache up.

Fails if ours takes longer than theirs in the median round. Needs the extra "peer".
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from own_process import answer_of

_MODEL = flags.DEFINE_string("model", "BiT-M-R50x1", "A model of the zoo.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each is timed.")

_IMAGES = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype("float32")


class Clock:
    """Seconds since the last reading, by name."""

    def __init__(self):
        self.seconds = {}
        self._last = time.perf_counter()

    def __call__(self, name):
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def save(name, path, answer):
    import bit_keras

    model = bit_keras.create(name)
    bit_keras.save_npz(model, path)
    answer.send(model.output_shape[-1])


def ours(name, classes, path, answer):
    clock = Clock()
    import bit_keras
    import bit_keras.models.zoo  # with all that it stands on: the package itself is lazy

    clock("imports")
    model = bit_keras.create(name, pretrained=path)
    clock("build and load")
    np.asarray(model(_IMAGES))
    clock("first call")
    model.predict(_IMAGES, verbose=0)
    clock("first predict")
    answer.send(clock.seconds)


def theirs(name, classes, path, answer):
    clock = Clock()
    sys.path.insert(0, str(Path(__file__).parent.parent))
    import torch
    from peers import fabricated, transformers_bit

    clock("imports")
    architecture = fabricated.ARCHITECTURES[name.rpartition("-")[2]]
    model = transformers_bit.load(transformers_bit.network(classes, *architecture), path)
    clock("build and load")
    with torch.inference_mode():
        model(torch.from_numpy(_IMAGES).permute(0, 3, 1, 2)).logits.numpy()
    clock("first call")
    answer.send(clock.seconds)


def main(_):
    seconds = {ours: [], theirs: []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.npz")
        classes = answer_of(save, _MODEL.value, path)
        for number in range(1 + _ROUNDS.value):
            for way, runs in seconds.items():
                run = answer_of(way, _MODEL.value, classes, path)
                runs.extend([run] if number else [])
    print(f"{_MODEL.value}, {classes} classes, median seconds of {_ROUNDS.value}\n")
    for way, runs in seconds.items():
        steps = {step: statistics.median(run[step] for run in runs) for step in runs[0]}
        print(f"{way.__name__:7}", *(f"{step} {value:.2f}" for step, value in steps.items()))
    totals = [
        [run["build and load"] + run["first call"] for run in runs] for runs in seconds.values()
    ]
    ratio = statistics.median(a / b for a, b in zip(*totals, strict=True))
    print(
        f"\nfrom the imports to the first call ours takes {ratio:.2f} of theirs; the bound is 1.00"
    )
    sys.exit(0 if ratio <= 1 else 1)


if __name__ == "__main__":
    app.run(main)

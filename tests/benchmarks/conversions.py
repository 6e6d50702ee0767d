"""Time of an OpenVINO conversion, beside OpenVINO on `transformers`' BiT on the same machine.

    python tests/benchmarks/conversions.py --threads 2

R50x1, float32, images of 224 x 224, both with dynamic sizes. The weights are random, which does not
change the time; those of the norms too, for a gain of 1 would be left out. The two are asked in
turn; the ratios are medians over the rounds, each of two calls next to each other. Needs the extras
"convert" and "peer".
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from bit_keras.exporters.convert import convert
from bit_keras.exporters.formats import library
from bit_keras.models.zoo import create

_BATCHES = flags.DEFINE_list("batches", ["1", "8"], "Batch sizes.")
_ROUNDS = flags.DEFINE_integer("rounds", 20, "How often each is timed.")
_THREADS = flags.DEFINE_integer("threads", 2, "Threads of OpenVINO.")

_CLASSES, _SIDE, _WARM_UP = 1000, 224, 3
_BOUND = 1.05


def theirs():
    import torch
    from transformers import BitConfig, BitForImageClassification

    model = BitForImageClassification(BitConfig(num_labels=_CLASSES)).eval()
    example = torch.zeros(1, 3, _SIDE, _SIDE)
    return library("openvino").convert_model(model, example_input=example)


def ours():
    model = create("BiT-M-R50x1", classes=_CLASSES)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in ("gamma", "beta"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    model.get_layer("head_conv2d").kernel.assign(rng.normal(0, 0.01, (2048, _CLASSES)))
    return model


def seconds(run, images):
    start = time.perf_counter()
    run(images)
    return time.perf_counter() - start


def main(_):
    core = library("openvino").Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": _THREADS.value}
    peer = core.compile_model(theirs(), "CPU", options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        print(convert(ours(), path, "openvino"), flush=True)
        converted = core.compile_model(path, "CPU", options)
    slow = False
    for batch in map(int, _BATCHES.value):
        images = np.random.default_rng(0).uniform(size=(batch, _SIDE, _SIDE, 3)).astype("float32")
        transposed = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        rounds = [
            (seconds(converted, images), seconds(peer, transposed))
            for _ in range(_WARM_UP + _ROUNDS.value)
        ][_WARM_UP:]
        ratio = statistics.median(our / their for our, their in rounds)
        best = [min(values) for values in zip(*rounds, strict=True)]
        print(f"batch {batch}: best {best[0]:.3f} s, theirs {best[1]:.3f} s, ratio {ratio:.2f}")
        slow |= ratio > _BOUND
    return int(slow)


if __name__ == "__main__":
    app.run(main)

"""Time of an exported network, beside `transformers`' BiT in PyTorch on the same machine.

    python tests/benchmarks/frozen.py --threads 2

R50x1 with random weights, float32, images of 224 x 224. Each engine has a process of its own, for
the thread pools of two in one process slow each other down. They are asked in turn, so that what
else the machine does meets all alike; the ratios are medians over the rounds, each of two calls
next to each other. Needs the extra "peer".
"""

import multiprocessing
import os
import statistics
import tempfile
import time

import numpy as np
from absl import app, flags

_MODEL = flags.DEFINE_string("model", "BiT-M-R50x1", "A model of the zoo.")
_BATCHES = flags.DEFINE_list("batches", ["1", "8"], "Batch sizes.")
_ROUNDS = flags.DEFINE_integer("rounds", 20, "How often each is timed.")
_THREADS = flags.DEFINE_integer("threads", 2, "Threads of each engine.")

_CLASSES, _SIDE = 1000, 224
_WARM_UP = 3  # calls that prepare memory and kernels


def transformers(depths, width, threads):
    import torch
    from transformers import BitConfig, BitForImageClassification

    torch.set_num_threads(threads)
    config = BitConfig(depths=list(depths), width_factor=width, num_labels=_CLASSES)
    model = BitForImageClassification(config).eval().to(memory_format=torch.channels_last)

    def run(images):
        # A transposed view of NHWC is what torch calls channels_last.
        with torch.inference_mode():
            return model(torch.from_numpy(images).permute(0, 3, 1, 2)).logits.numpy()

    return run


def saved_model(path, threads):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    module = tf.saved_model.load(path)
    return lambda images: module(tf.constant(images)).numpy()


def export(name, folder):
    """Writes both files; in a process of its own, whose TensorFlow ends with it."""
    import bit_keras

    model = bit_keras.create(name, classes=_CLASSES)
    for freeze, file in ((False, "variables"), (True, "frozen")):
        bit_keras.export_saved_model(model, os.path.join(folder, file), freeze=freeze)


def serve(make, arguments, questions):
    run = make(*arguments)
    questions.send("ready")
    rng = np.random.default_rng(0)
    while batch := questions.recv():
        images = rng.uniform(size=(batch, _SIDE, _SIDE, 3)).astype("float32")
        start = time.perf_counter()
        run(images)
        questions.send(time.perf_counter() - start)


def started(context, make, arguments):
    ours, theirs = context.Pipe()
    context.Process(target=serve, args=(make, arguments, theirs), daemon=True).start()
    ours.recv()
    return ours


def seconds_of(engines, batch, rounds):
    seconds = {name: [] for name in engines}
    for _ in range(_WARM_UP + rounds):
        for name, engine in engines.items():
            engine.send(batch)
            seconds[name].append(engine.recv())
    return {name: values[_WARM_UP:] for name, values in seconds.items()}


def main(_):
    from bit_keras.zoo import VARIANTS

    os.environ["OMP_NUM_THREADS"] = str(_THREADS.value)
    # A thread that waits for the others spins otherwise, and takes the core from the other engine.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    context = multiprocessing.get_context("spawn")
    shape = VARIANTS[_MODEL.value].architecture
    with tempfile.TemporaryDirectory() as folder:
        exporter = context.Process(target=export, args=(_MODEL.value, folder))
        exporter.start()
        exporter.join()
        makers = {
            "transformers": (transformers, (shape.depths, shape.width, _THREADS.value)),
            "variables": (saved_model, (os.path.join(folder, "variables"), _THREADS.value)),
            "frozen": (saved_model, (os.path.join(folder, "frozen"), _THREADS.value)),
        }
        engines = {name: started(context, *maker) for name, maker in makers.items()}
        for batch in map(int, _BATCHES.value):
            seconds = seconds_of(engines, batch, _ROUNDS.value)
            for name, values in seconds.items():
                pairs = zip(values, seconds["transformers"], strict=True)
                ratio = statistics.median(ours / theirs for ours, theirs in pairs)
                print(
                    f"{_MODEL.value} batch {batch} {name}: best {min(values):.3f} s, median "
                    f"{statistics.median(values):.3f} s, {ratio:.2f} of transformers",
                    flush=True,
                )
        for engine in engines.values():
            engine.send(0)


if __name__ == "__main__":
    app.run(main)

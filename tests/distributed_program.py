"""One small training that uses all of a model's methods, for tests of distribution and slices.

As a program, `python distributed_program.py STRATEGY NETWORK OPTIONS STEPS OUTPUT.npz`, it is one
worker of MultiWorkerMirroredStrategy (whose TF_CONFIG tells which), or a process of its own with as
many replicas as the number that STRATEGY is. With `cases CASE,CASE,...` for NETWORK and OPTIONS it
trains them all, and OUTPUT.npz has what each found as `CASE/NAME`.
"""

import functools
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

BATCH_SIZE = 8
TOLERANCE = 1e-5  # of the largest value


def network(model_class, dtype=None):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(
        4,
        3,
        strides=2,
        activation="relu",
        kernel_initializer=keras.initializers.GlorotUniform(seed=1),
        kernel_regularizer=keras.regularizers.L2(0.01),
        dtype=dtype,
    )(inputs)
    x = keras.layers.Flatten(dtype=dtype)(x)
    outputs = keras.layers.Dense(
        3, kernel_initializer=keras.initializers.GlorotUniform(seed=2), dtype=dtype
    )(x)
    return model_class(inputs, outputs)


def resnet():
    """The tiny BiT network, with the same weights each time.

    In float64: what float32 rounds grows to percents of a weight in 20 steps of a deep network,
    also in one process, when only the samples of each batch are permuted.
    """
    import bit_keras

    keras.utils.set_random_seed(3)
    return bit_keras.ResNetV2(
        depths=(1, 1, 1, 1),
        width=0.5,
        classes=3,
        input_shape=(64, 64, 3),
        dtype="float64",
    )


def bit_model(dtype=None):
    from bit_keras.models.model import Model

    return network(Model, dtype)


NETWORKS = {
    "keras": lambda: network(keras.Model),
    "bit_keras": bit_model,
    "bfloat16": lambda: bit_model("mixed_bfloat16"),
    "resnet": resnet,
}


def samples(number, seed=0, size=8):
    random = np.random.default_rng(seed)
    images = random.normal(size=(number, size, size, 3)).astype("float32")
    return images, random.integers(0, 3, number)


def sgd(**arguments):
    return keras.optimizers.SGD(0.1, momentum=0.9, **arguments)


def falling_sgd(**arguments):
    from bit_keras.hyperrule import HyperRuleSchedule
    from bit_keras.utils.momentum_sgd import MomentumSGD

    rate = HyperRuleSchedule(0.1, boundaries=(2, 3, 4))
    return MomentumSGD(rate, momentum=0.9, weight_decay=0.1, **arguments)


# Made in the strategy's scope, hence functions. The limits on gradients are such that they bite.
OPTIONS = {
    "plain": lambda: {"optimizer": sgd()},
    "float64": lambda: {"optimizer": sgd(), "metrics": ["accuracy"]},  # top-k takes float32 only
    "eager": lambda: {"optimizer": sgd(), "run_eagerly": True},
    # 20 steps, and the 5 of an evaluation, leave a partial execution.
    "clipnorm, 3 steps an execution": lambda: {
        "optimizer": sgd(clipnorm=0.05),
        "steps_per_execution": 3,
    },
    "4 steps an execution": lambda: {"optimizer": sgd(), "steps_per_execution": 4},
    "global_clipnorm, 4 steps an execution": lambda: {
        "optimizer": sgd(global_clipnorm=0.05),
        "steps_per_execution": 4,
        "metrics": ["accuracy"],
    },
    "global_clipnorm, weight decay, averages": lambda: {
        "optimizer": keras.optimizers.AdamW(
            0.01, weight_decay=0.1, global_clipnorm=0.05, use_ema=True
        ),
    },
    "falling rate outside of the velocity, clipvalue, loss scaling": lambda: {
        "optimizer": keras.optimizers.LossScaleOptimizer(falling_sgd(clipvalue=0.005))
    },
}


@dataclass(frozen=True)
class Case:
    """What must give the same weights under every strategy as in one process and one slice."""

    network: str
    options: str
    slices: int = 1
    tolerance: float = 1e-5  # relative; bfloat16 has 8 bits

    def model(self, slices=None):
        model = compiled(NETWORKS[self.network](), **OPTIONS[self.options]())
        model.batch_split = slices or self.slices
        return model


# The small network has L2 regularization; all have sample weights.
CASES = {
    "steps": Case("bit_keras", "4 steps an execution"),
    "rest": Case("bit_keras", "clipnorm, 3 steps an execution"),
    "slices": Case("bit_keras", "plain", 2),
    "averages": Case("bit_keras", "global_clipnorm, weight decay, averages"),
    "all": Case("bit_keras", "global_clipnorm, 4 steps an execution", 2),
    "bfloat16": Case("bfloat16", "global_clipnorm, 4 steps an execution", 2, tolerance=5e-3),
    "resnet": Case("resnet", "float64"),
    "resnet-all": Case("resnet", "global_clipnorm, 4 steps an execution", 2),
}


def compiled(model, reduction="sum_over_batch_size", **arguments):
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=reduction, dtype=model.compute_dtype
    )
    metrics = ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")]
    arguments = {"optimizer": sgd(), "metrics": metrics, "weighted_metrics": [], **arguments}
    model.compile(loss=loss, **arguments)
    return model


def everything(model, steps=20):
    """Trains, evaluates and predicts; 37 samples are nowhere a whole number of batches."""
    size = model.input_shape[1]
    images, labels = samples(BATCH_SIZE * steps, size=size)
    some_images, some_labels = samples(37, seed=1, size=size)
    arguments = {"batch_size": BATCH_SIZE, "verbose": 0}
    untrained = model.evaluate(some_images, some_labels, **arguments)
    found = model.fit(
        images,
        labels,
        sample_weight=np.linspace(0.1, 2, len(labels), dtype="float32"),
        validation_data=(some_images, some_labels),
        shuffle=False,
        **arguments,
    ).history
    found |= weights(model, "after fit")
    found["untrained"] = untrained
    found["evaluate"] = model.evaluate(some_images, some_labels, **arguments)
    found["predict"] = model.predict(some_images, **arguments)
    found["predict_on_batch"] = model.predict_on_batch(some_images)
    found["test_on_batch"] = model.test_on_batch(some_images, some_labels)
    found["train_on_batch"] = model.train_on_batch(
        some_images, some_labels, class_weight={0: 1.0, 1: 2.0, 2: 0.5}
    )
    return found | weights(model, "after train_on_batch")


@functools.cache
def stock(options, steps=20):
    """What stock Keras finds in one process; many tests compare with the same."""
    model = compiled(network(keras.Model), **OPTIONS[options]())
    return everything(model, steps)


def difference(found, expected):
    """The largest, over everything found, of |found - expected| / max |expected|."""
    assert found.keys() == expected.keys()
    worst = {}
    for name in expected:
        want = np.asarray(expected[name], "float64")
        worst[name] = np.abs(np.asarray(found[name], "float64") - want).max() / np.abs(want).max()
    return max(worst.values())


def fit_all(number):
    images, labels = samples(number)
    return lambda model: model.fit(images, labels, batch_size=8, shuffle=False, verbose=0)


def weights(model, when=""):
    return {f"{i} {v.name} {when}": v.numpy() for i, v in enumerate(model.weights)}


def start(*arguments, **environment):
    """Starts the program; a file takes what it writes, as a full pipe would block it."""
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(Path(__file__).parent.parent),
        **environment,
    }
    with Path(arguments[-1]).with_suffix(".log").open("w") as log:
        command = [sys.executable, __file__, *map(str, arguments)]
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def finish(processes, timeout=300):
    """The exit statuses; at the deadline what still runs is killed and TimeoutExpired raised."""
    deadline = time.monotonic() + timeout
    try:
        return [process.wait(max(deadline - time.monotonic(), 0.1)) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def tf_configs(number):
    """The TF_CONFIG of each of some workers on ports of this machine that are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    cluster = {"worker": [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]}
    for s in sockets:
        s.close()
    tasks = [{"type": "worker", "index": index} for index in range(number)]
    return [json.dumps({"cluster": cluster, "task": task}) for task in tasks]


def run_workers(number, name, options, folder, timeout=300):
    """Runs the program as some workers; returns (exit status, log, npz path) of each."""
    outputs = [folder / f"worker{index}.npz" for index in range(number)]
    workers = [
        start("workers", name, options, 20, output, TF_CONFIG=config)
        for output, config in zip(outputs, tf_configs(number), strict=True)
    ]
    statuses = finish(workers, timeout)
    logs = [output.with_suffix(".log").read_text() for output in outputs]
    return list(zip(statuses, logs, outputs, strict=True))


def main(strategy, name, options, steps, output):
    import bit_keras

    if strategy == "workers":
        strategy = bit_keras.strategy("multi_worker")
    else:
        split_cpu(int(strategy))
        strategy = bit_keras.strategy("mirrored")
    found = {}
    for case in options.split(",") if name == "cases" else ():
        with strategy.scope():
            model = CASES[case].model()
        found |= {f"{case}/{key}": value for key, value in everything(model, int(steps)).items()}
    if name != "cases":
        with strategy.scope():
            model = compiled(NETWORKS[name](), **OPTIONS[options]())
        found = everything(model, int(steps))
    np.savez(output, **found)


def split_cpu(number):
    """Has TensorFlow, which must not have started, see so many CPU devices."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * number
    tf.config.set_logical_device_configuration(cpu, devices)


if __name__ == "__main__":
    main(*sys.argv[1:])

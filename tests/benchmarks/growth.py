"""How time and memory of frozen networks grow with the batch, the pixels, the depth and the width.

    python tests/benchmarks/growth.py
    python tests/benchmarks/growth.py --rounds=3 --architectures=R50x1,R152x2

Each architecture is a process of its own, with random weights and kernels that are standardized
once. They are asked in turn, a round of all cases after the other, so that what else the machine
does meets all alike. Time is a median over the rounds; memory is the peak of a call in a process of
its own, over what that had after a call with a small image. Prints a table and saves growth.png.

Fails where a multiply-add takes over 15 % more time than in the reference, batch 8: every
architecture at 224 pixels against R50x1, every side from 128 to 480 pixels against 128. All six
need 20 GB of memory and fifteen minutes.
"""

import os
import statistics
import sys
import time
from dataclasses import dataclass

import numpy as np
from absl import app, flags
from matplotlib.figure import Figure
from own_process import answer_of, started
from resident import begin_anew, resident

_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each is timed, after a round that is not.")
_ARCHITECTURES = flags.DEFINE_list(
    "architectures", ["R50x1", "R101x1", "R50x3", "R152x2", "R101x3", "R152x4"], "Which."
)

_BATCHES = (1, 2, 4, 8, 16, 32)
_SIDES = (128, 160, 224, 320, 384, 480)
_BATCH, _SIDE = 8, 224
_BOUND = 1.15


@dataclass(frozen=True)
class Case:
    """One call."""

    architecture: str
    batch: int = _BATCH
    side: int = _SIDE

    @property
    def label(self):
        return f"{self.architecture}, {self.batch} x {self.side}²"


@dataclass(frozen=True)
class Measured:
    """Of one case: multiply-adds, bytes over what was there, and seconds of each round."""

    multiply_adds: int
    memory: int
    seconds: list


def frozen(architecture):
    """{case: seconds of a call}"""
    import tensorflow as tf

    import bit_keras
    from bit_keras.exporters.saved_model_module import frozen_copy

    model = frozen_copy(bit_keras.create(f"BiT-S-{architecture}"))
    function = tf.function(lambda images: model(images, training=False))

    def call(case):
        shape = (case.batch, case.side, case.side, 3)
        images = tf.constant(np.random.default_rng(0).uniform(-1, 1, shape).astype("float32"))
        start = time.perf_counter()
        function(images).numpy()
        return time.perf_counter() - start

    return call


def serve(architecture, questions):
    """Answers a case with seconds, until None comes."""
    call = frozen(architecture)
    questions.send("ready")
    while case := questions.recv():
        questions.send(call(case))


def peak(case, answer):
    """Sends the bytes of a call over what the process has after a call with a small image."""
    call = frozen(case.architecture)
    call(Case(case.architecture, batch=1, side=32))
    begin_anew()
    before = resident("VmRSS")
    call(case)
    answer.send(resident("VmHWM") - before)


def measured(cases):
    """{case: Measured}"""
    import bit_keras

    memory = {case: answer_of(peak, case) for case in cases}
    engines = {}
    for architecture in dict.fromkeys(case.architecture for case in cases):
        _, engines[architecture] = started(serve, architecture)
        engines[architecture].recv()  # it is ready: two that prepare at once take more memory
    seconds = {case: [] for case in cases}
    for _ in range(1 + _ROUNDS.value):
        for case, values in seconds.items():
            engines[case.architecture].send(case)
            values.append(engines[case.architecture].recv())
    for engine in engines.values():
        engine.send(None)
    found = {}
    for case, (_, *values) in seconds.items():
        cost = bit_keras.cost(f"BiT-S-{case.architecture}", resolution=case.side)
        found[case] = Measured(case.batch * cost.multiply_adds, memory[case], values)
    return found


def growth(found, case, reference):
    """How much more time a multiply-add takes in a case than in the reference, round by round."""
    ours, theirs = found[case], found[reference]
    pairs = zip(ours.seconds, theirs.seconds, strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    return ratio * theirs.multiply_adds / ours.multiply_adds


def table(found):
    print("| | ms | G multiply-adds | ps of one | memory |\n|---|---|---|---|---|")
    for case, values in found.items():
        seconds = statistics.median(values.seconds)
        print(
            f"| {case.label} | {1000 * seconds:.0f} | {values.multiply_adds / 1e9:.1f} "
            f"| {1e12 * seconds / values.multiply_adds:.2f} | {values.memory / 1e6:.0f} MB |"
        )


def draw(found, panels):
    figure = Figure(figsize=(5 * len(panels), 7), layout="constrained")
    grid = figure.subplots(2, len(panels), squeeze=False)
    for (title, cases, names), (upper, lower) in zip(panels, grid.T, strict=True):
        work = [found[case].multiply_adds / 1e9 for case in cases]
        upper.plot(work, [statistics.median(found[case].seconds) for case in cases], "o-")
        lower.plot(work, [found[case].memory / 1e9 for case in cases], "o-", color="tab:orange")
        for number, (x, case, name) in enumerate(zip(work, cases, names, strict=True)):
            # On both sides of the line in turn: neighbours may be near each other.
            places = {"xytext": (6, -10)}, {"xytext": (-6, 4), "ha": "right"}
            for axes, y in (
                (upper, statistics.median(found[case].seconds)),
                (lower, found[case].memory / 1e9),
            ):
                axes.annotate(name, (x, y), textcoords="offset points", **places[number % 2])
        upper.set(title=title, ylabel="seconds a call", xscale="log", yscale="log")
        lower.set(xlabel="10⁹ multiply-adds a call", ylabel="GB of a call", xscale="log")
        lower.set_yscale("log")
        for axes in (upper, lower):
            axes.margins(0.15)
            axes.grid(alpha=0.3)
    figure.savefig("growth.png")


def main(_):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    of_batch = [Case("R50x1", batch=batch) for batch in _BATCHES]
    of_side = [Case("R50x1", side=side) for side in _SIDES]
    of_network = [Case(architecture) for architecture in _ARCHITECTURES.value]
    found = measured(list(dict.fromkeys([*of_batch, *of_side, *of_network])))
    table(found)
    draw(
        found,
        (
            (f"R50x1, {_SIDE} pixels: batch", of_batch, _BATCHES),
            (f"R50x1, batch {_BATCH}: pixels", of_side, _SIDES),
            (f"batch {_BATCH}, {_SIDE} pixels", of_network, _ARCHITECTURES.value),
        ),
    )
    bounded = [(case, Case("R50x1")) for case in of_network]
    bounded += [(case, of_side[0]) for case in of_side]
    missed = False
    print()
    for case, reference in bounded:
        value = growth(found, case, reference)
        missed |= value > _BOUND
        print(
            f"{case.label}: {value:.2f} of the time a multiply-add of {reference.label}"
            f"{'' if value <= _BOUND else ', MISSED'}"
        )
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    app.run(main)

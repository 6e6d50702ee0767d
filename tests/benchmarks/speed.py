"""Times of this package and of others on the same machine, and how near they come to its ceiling.

    python tests/benchmarks/speed.py
    python tests/benchmarks/speed.py --inference= --training=8x224 --rounds=1
    python tests/benchmarks/speed.py --profile

R50x1 with random weights and 1000 classes; what it is measured beside is in speed_engines.py. Each
engine has a process of its own, which ends before the next engine starts, so that it is alone on
the machine. It keeps its default settings: all processes are bound to the same number of cores,
from which every engine takes its number of threads, and variables that change how threads work are
removed (OMP_WAIT_POLICY=PASSIVE takes 15 to 40 % of PyTorch's speed). In a round, every engine has
its turn, so that what else the machine does meets all alike. A time is a median over the rounds of
medians over calls; a ratio is the median of the ratios inside a round. The floor is the time of a
matrix product of as many multiply-adds (a training step: three times those of inference).

Prints a Markdown table for each case and the bounds that are kept or missed, and saves speed.png.
Needs the extras "convert" and "peer", 12 GB of memory and an hour; --profile a minute.
"""

import os
import re
import statistics
import sys
import tempfile
from dataclasses import dataclass

import speed_engines
from absl import app, flags
from matplotlib.figure import Figure
from own_process import answer_of
from speed_profile import costliest

_INFERENCE = flags.DEFINE_list("inference", ["1x224", "8x224", "32x128"], "Batches x pixels.")
_TRAINING = flags.DEFINE_list("training", ["8x224", "32x128"], "Batches x pixels.")
_ENGINES = flags.DEFINE_list("engines", [], "Those alone, by their names; all, if none is named.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How many processes of each engine are timed.")
_CALLS = flags.DEFINE_integer("calls", 5, "How many calls are timed in a process.")
_THREADS = flags.DEFINE_integer("threads", 2, "Cores, and thereby threads, of each engine.")
_PROFILE = flags.DEFINE_bool("profile", False, "Name our costliest operations, and end.")

# Variables that change how an engine uses its threads.
_OF_THREADS = re.compile(r"(OMP|GOMP|KMP|MKL|DNNL|ONEDNN|OPENBLAS|TF_NUM|TF_ENABLE_ONEDNN)_.*")

_OURS = ("bit_keras", "exported", "frozen")


@dataclass(frozen=True)
class Bound:
    """What the time of one engine may be of another's."""

    kind: str
    case: str
    engine: str
    other: str
    ratio: float


_BOUNDS = (
    Bound("inference", "8x224", "bit_keras", "transformers", 0.80),
    Bound("inference", "32x128", "bit_keras", "transformers", 0.75),
    Bound("inference", "1x224", "bit_keras", "transformers", 0.70),
    Bound("inference", "1x224", "frozen", "transformers", 0.50),
    Bound("inference", "8x224", "frozen", "floor", 1.10),
    Bound("inference", "1x224", "frozen", "OpenVINO", 1.20),
    Bound("inference", "8x224", "frozen bfloat16", "frozen", 0.60),
    Bound("training", "8x224", "bit_keras", "transformers", 0.92),
    Bound("training", "32x128", "bit_keras", "transformers", 0.85),
    Bound("training", "8x224", "bit_keras bfloat16", "bit_keras", 0.65),
    Bound("training", "8x224", "bit_keras", "bit_keras bare step", 1.03),
)


def check_flags():
    known = dict.fromkeys(name for engines in speed_engines.ENGINES.values() for name in engines)
    unknown = set(_ENGINES.value) - known.keys()
    if unknown:
        raise app.UsageError(f"--engines={','.join(unknown)}: expected {', '.join(known)}.")
    cases = [case for case in (*_INFERENCE.value, *_TRAINING.value) if case]
    wrong = [case for case in cases if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", case)]
    if wrong or not cases:
        raise app.UsageError(f"Cases {wrong}: expected batch x pixels, such as 8x224.")


def measured(kind, cases, folder):
    """{case: {engine: seconds of each round}}"""
    names = [n for n in speed_engines.ENGINES[kind] if not _ENGINES.value or n in _ENGINES.value]
    found = {case: {name: [] for name in names} for case in cases}
    sizes = [tuple(map(int, case.split("x"))) for case in cases]
    for _ in range(_ROUNDS.value):
        for name in names:
            # It returns when the engine's process has ended.
            answer = answer_of(speed_engines.time_alone, kind, name, folder, sizes, _CALLS.value)
            for case, seconds in zip(cases, answer, strict=True):
                found[case][name].append(seconds)
    return found


def give_each_engine_its_defaults():
    """Binds the processes to as many cores as engines may use, and removes variables."""
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= _THREADS.value <= len(cores):
        raise app.UsageError(f"--threads={_THREADS.value}: expected 1 to {len(cores)} cores.")
    os.sched_setaffinity(0, cores[: _THREADS.value])
    for name in filter(_OF_THREADS.fullmatch, list(os.environ)):
        del os.environ[name]
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def ratio(seconds, engine, other):
    pairs = zip(seconds[engine], seconds[other], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def table(kind, case, seconds):
    batch, side = case.split("x")
    print(f"\n{kind}, batch {batch}, {side} x {side} pixels\n")
    others = [name for name in ("transformers", "floor") if name in seconds]
    print(f"| | ms | {' | '.join(f'of {name}' for name in others)} |")
    print("|---" * (2 + len(others)) + "|")
    for name, values in seconds.items():
        ratios = "".join(f" {ratio(seconds, name, other):.2f} |" for other in others)
        print(f"| {name} | {1000 * statistics.median(values):.0f} |{ratios}")


def verdicts(found):
    """Prints each bound beside what was measured; returns whether one was missed."""
    print()
    missed = False
    for bound in _BOUNDS:
        seconds = found.get((bound.kind, bound.case), {})
        if bound.engine not in seconds or bound.other not in seconds:
            continue
        value = ratio(seconds, bound.engine, bound.other)
        missed |= value > bound.ratio
        print(
            f"{bound.kind} {bound.case}: {bound.engine} takes {value:.2f} of {bound.other}, "
            f"bound {bound.ratio:.2f}{'' if value <= bound.ratio else ': MISSED'}"
        )
    return missed


def draw(found):
    columns = 2
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(7 * columns, 4.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(found) :]:
        axes.remove()
    for axes, ((kind, case), seconds) in zip(grid.flat, found.items(), strict=False):
        names = [name for name in seconds if name != "floor"]
        values = [ratio(seconds, name, "floor") for name in names]
        colors = ["tab:orange" if name.startswith(_OURS) else "gray" for name in names]
        bars = axes.barh(names, values, color=colors)
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.axvline(1, color="black", linestyle=":")
        axes.invert_yaxis()
        axes.set_xlim(0, 1.15 * max(values))  # the label of the longest bar
        axes.set(title=f"{kind}, {case} pixels", xlabel="time / time of the matrix product")
    figure.savefig("speed.png")


def main(_):
    check_flags()
    give_each_engine_its_defaults()
    work = {"inference": _INFERENCE.value, "training": _TRAINING.value}
    if _PROFILE.value:
        for kind, cases in work.items():
            for case in filter(None, cases):
                print(f"\n{kind} {case}\n{costliest(kind, case)}")
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        if any(_INFERENCE.value):
            answer_of(speed_engines.export, folder)
        for kind, cases in work.items():
            cases = [case for case in cases if case]
            for case, seconds in (measured(kind, cases, folder) if cases else {}).items():
                found[kind, case] = seconds
                table(kind, case, seconds)
    if all("floor" in seconds for seconds in found.values()):
        draw(found)
    sys.exit(1 if verdicts(found) else 0)


if __name__ == "__main__":
    app.run(main)

"""Draws many pictures in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

from outcome import Outcome
from tqdm import tqdm

# A function that draws, what it draws, and the number of the picture in its source.
Job = tuple[Callable[[object, int, Path, int], list[Outcome]], object, int]


def in_processes(jobs: list[Job], processes: int, output: Path, seed: int) -> list[Outcome]:
    """Draws all pictures; returns what became of them, in the order of the jobs.

    Args:
        jobs: what to draw.
        processes: the number of processes; 1: this one.
        output, seed: the last two arguments of every function that draws.
    """
    if processes == 1:
        outcomes = (draw(item, number, output, seed) for draw, item, number in jobs)
        return [outcome for of_job in tqdm(outcomes, total=len(jobs)) for outcome in of_job]
    with multiprocessing.get_context("spawn").Pool(processes, _start, (output, seed)) as pool:
        outcomes = tqdm(pool.imap(_work, jobs, chunksize=8), total=len(jobs), mininterval=5)
        return [outcome for of_job in outcomes for outcome in of_job]


_common = {}


def _start(output: Path, seed: int) -> None:
    """Keeps what all pictures have in common, in a new process."""
    _common.update(output=output, seed=seed)


def _work(job: Job) -> list[Outcome]:
    draw, item, number = job
    return draw(item, number, _common["output"], _common["seed"])

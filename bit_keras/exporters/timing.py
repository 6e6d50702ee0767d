"""Measures the time that model files take for a batch, and compares them."""

import multiprocessing
import os
import platform
import signal
import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from bit_keras.exporters.engines import engine_of, load, threads
from bit_keras.utils.integers import check_integer
from bit_keras.utils.printable import first_line
from bit_keras.utils.text_table import TextTable

# Each file is timed in at most 20 rounds; the median varies by a few percent on a busy machine. For
# a large network, the rounds end after 60 seconds for each batch size, but not before 3 rounds.
_ROUNDS, _SECONDS, _FEWEST = 20, 60, 3


_WARM_UP = 2  # The first calls trace graphs and prepare memory, so they are not timed.


def time_models(
    paths: Sequence[str | os.PathLike], batch_size: int = 8, image_size: int = 224
) -> TextTable:
    """Times files of any format for one image and for a batch, and returns the times as a table.

    Each file runs in its own process, because the threads of two engines in one process slow each
    other down. The files are timed in turn, so that other work on the machine affects all of them.

    Args:
        paths: the files, as for `bit_keras.exporters.engines.load`.
        batch_size: number of images in a batch.
        image_size: height and width of the images in pixels.

    Returns:
        A table with the median times, and the median over the rounds of the ratio to the time of
        the first file.

    Raises:
        ImportError: an engine is not installed.
        OSError: a file does not exist, or a process died.
        ValueError: a file is not a model or does not take images of this size, or an argument is
            not a positive integer.
    """
    for name, value in (("batch_size", batch_size), ("image_size", image_size)):
        check_integer(name, value)
    titles = [engine_of(path).title for path in paths]
    processes = _Processes(paths)
    try:
        shapes = [(batch, image_size, image_size, 3) for batch in sorted({1, batch_size})]
        seconds = [_rounds(processes, shape) for shape in shapes]
    finally:
        processes.close()
    columns = [column for batch, *_ in shapes for column in (f"batch {batch}, ms", "of the first")]
    rows = []
    for place, (path, title) in enumerate(zip(paths, titles, strict=True)):
        cells = [cell for rounds in seconds for cell in _cells(rounds, place)]
        rows.append((str(path), title, *cells))
    return TextTable(
        f"{image_size} x {image_size} images, {_machine()}, {threads()} threads, medians",
        ("model", "engine", *columns),
        tuple(rows),
    )


def _rounds(processes: "_Processes", shape: tuple[int, ...]) -> list[list[float]]:
    """Times all files in several rounds; returns for each round the list of the files' seconds."""
    for _ in range(_WARM_UP):
        processes.seconds(shape)
    rounds, start = [], time.perf_counter()
    while len(rounds) < _FEWEST or (
        len(rounds) < _ROUNDS and time.perf_counter() - start < _SECONDS
    ):
        rounds.append(processes.seconds(shape))
    return rounds


def _cells(rounds: list[list[float]], place: int) -> tuple[str, str]:
    median = statistics.median(seconds[place] for seconds in rounds)
    ratio = statistics.median(seconds[place] / seconds[0] for seconds in rounds)
    return f"{1000 * median:.1f}", f"{ratio:.2f}"


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class _Processes:
    """Child processes, one for each model file; each loads its file and times it on request."""

    def __init__(self, paths: Sequence[str | os.PathLike]):
        # Child processes are spawned and not forked, because TensorFlow does not work in a forked
        # process.
        context = multiprocessing.get_context("spawn")
        self._paths, self._processes, self._connections = list(paths), [], []
        try:
            for path in self._paths:
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(path, theirs), daemon=True)
                process.start()
                # The parent closes the child's end of the pipe, so that recv() fails when the child
                # process ends.
                theirs.close()
                self._processes.append(process)
                self._connections.append(ours)
                # The processes load their files one after the other to save memory.
                self._answer(path, ours)
        except BaseException:
            self.close()
            raise

    def seconds(self, shape: tuple[int, ...]) -> list[float]:
        """Times one batch of this shape in each process in turn; returns the files' seconds."""
        seconds = []
        for path, connection in zip(self._paths, self._connections, strict=True):
            connection.send(shape)
            seconds.append(self._answer(path, connection))
        return seconds

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(10)
            process.kill()

    def _answer(self, path: str | os.PathLike, connection: Connection) -> float:
        try:
            answer = connection.recv()
        except EOFError:
            raise ChildProcessError(
                f"The process that ran {path} died; there may be too little memory."
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(path: str | os.PathLike, connection: Connection) -> None:
    """In a child process, loads a model file and times it for each batch shape it receives."""
    # A child process ignores Ctrl-C, because the parent process handles it and stops its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = load(path)
    except (ImportError, OSError, ValueError) as error:
        connection.send(_plain(error))
        return
    connection.send(0.0)
    rng = np.random.default_rng(0)
    while True:
        try:
            shape = connection.recv()
        except (EOFError, ConnectionError):
            return
        images = rng.uniform(size=shape).astype("float32")
        start = time.perf_counter()
        try:
            run(images)
        # All exceptions are caught, because each engine raises its own classes of errors.
        except Exception as error:
            size = " x ".join(map(str, shape[1:3]))
            message = f"{path} does not run on {shape[0]} images of {size}: {first_line(error)}"
            connection.send(ValueError(message))
            return
        connection.send(time.perf_counter() - start)


def _plain(error: Exception) -> Exception:
    """Returns the error as one of Python's own classes, which every process can unpickle."""
    kind = next(kind for kind in (ImportError, OSError, ValueError) if isinstance(error, kind))
    return kind(str(error))

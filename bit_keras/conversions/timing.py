"""How long the files of a model take for a batch, one beside the other."""

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

from bit_keras.conversions.engines import engine_of, first_line, load, threads
from bit_keras.studies.text_table import TextTable

# On a busy machine the median of 20 neighbours in time moves by a few percent. A large network
# stops earlier, at this many seconds for a batch size, but not before it was asked thrice.
_ROUNDS, _SECONDS, _FEWEST = 20, 60, 3

_WARM_UP = 2  # calls that trace graphs, prepare memory and kernels


def time_models(
    paths: Sequence[str | os.PathLike], batch_size: int = 8, image_size: int = 224
) -> TextTable:
    """Returns the times of files of any format for one image and for a batch, side by side.

    Each file has a process of its own, for the threads of two engines in one process slow each
    other down. They are asked in turn, so that what else the machine does meets all alike.

    Args:
        paths: as for `bit_keras.conversions.engines.load`.
        batch_size: images a batch.
        image_size: their height and width in pixels.

    Returns:
        A table: the medians, and their ratio to the first file's, itself a median over the
        rounds.

    Raises:
        ImportError: an engine is not installed.
        OSError: there is no such file, or a process died.
        ValueError: it is no model, it takes no images of this size, or an argument is not
            positive.
    """
    for name, value in (("batch_size", batch_size), ("image_size", image_size)):
        if value < 1:
            raise ValueError(f"{name}={value}: expected an integer of at least 1.")
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
    """Returns for each round the seconds that each file took."""
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
    """One for each file, which has loaded it."""

    def __init__(self, paths: Sequence[str | os.PathLike]):
        context = multiprocessing.get_context("spawn")  # TensorFlow does not outlive a fork
        self._paths, self._processes, self._connections = list(paths), [], []
        try:
            for path in self._paths:
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(path, theirs), daemon=True)
                process.start()
                theirs.close()  # so that the end of the process ends the connection
                self._processes.append(process)
                self._connections.append(ours)
                self._answer(path, ours)  # one after the other: loading takes memory
        except BaseException:
            self.close()
            raise

    def seconds(self, shape: tuple[int, ...]) -> list[float]:
        """Returns how long each file took for a batch, asked in turn."""
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
    """Loads a file and times what it is asked for, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
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
        except Exception as error:  # each engine has errors of its own
            size = " x ".join(map(str, shape[1:3]))
            message = f"{path} does not run on {shape[0]} images of {size}: {first_line(error)}"
            connection.send(ValueError(message))
            return
        connection.send(time.perf_counter() - start)


def _plain(error: Exception) -> Exception:
    """Returns an error that every process can read: of a class of Python's own."""
    kind = next(kind for kind in (ImportError, OSError, ValueError) if isinstance(error, kind))
    return kind(str(error))

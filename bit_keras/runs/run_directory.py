"""The directory of a run: the run's files, its configuration, and a lock against other processes.

    config.json      written first: the configuration that was asked for
    state-N.npz      the newest training states, after step N, until the run is finished
    task.json        the names of the classes, and the options of the task
    metrics.json     written last: the results; a run that has this file is finished
    .lock            locked while a process writes to the directory
    other files      model.keras, pictures, tensorboard/

The runs of several seeds are in subdirectories seed-0, seed-1 ... beside seeds.json.
"""

import contextlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from absl import logging
from filelock import FileLock, Timeout

from bit_keras.runs.differences import difference
from bit_keras.utils.atomic_file import atomic_write
from bit_keras.utils.natural_order import natural_key
from bit_keras.utils.regular_file import SpecialFileError, read_regular_file

CONFIG, METRICS, LOCK = "config.json", "metrics.json", ".lock"
HISTORY, MODEL, WEIGHTS, EVENTS = "history.json", "model.keras", "weights.npz", "tensorboard"
CURVE, PREDICTIONS, SEEDS = "learning_curve.png", "predictions.png", "seeds.json"
TASK = "task.json"
_FILES = (CONFIG, METRICS, HISTORY, MODEL, WEIGHTS, CURVE, PREDICTIONS, EVENTS, SEEDS, TASK)

_STATE = re.compile(r"state-(\d+)\.npz")
_DAMAGED_STATE = re.compile(r"state-\d+\.npz\.damaged")
_SEED_RUN = re.compile(r"seed-\d+")

_OTHER_STEPS = (
    " A run cannot go on with another number of steps, because its learning rate falls at steps "
    "that follow from this number. Start the run with the number of steps that it had before, and "
    "it goes on. To train its finished network further, load model.keras with "
    "keras.models.load_model and pass it to bit_keras.finetune as the model, with another "
    "output_dir."
)

_ANOTHER_DIRECTORY = "Choose another output_dir (--output_dir), or pass overwrite (--overwrite)."

# The real paths of the run directories that this process has locked.
_locked: set[str] = set()

_PACKAGES = ("bit_keras", "keras", "tensorflow", "numpy")


def claim(
    path: Path, configuration: dict, overwrite: bool, class_names: Sequence[str] | None = None
) -> dict | None:
    """Creates or checks the directory of a run, and writes the run's configuration to it.

    Args:
        path: the directory; it is made if it does not exist.
        configuration: the run's configuration, as `plain` returns it.
        overwrite: if True, remove the files of an earlier run, and no others.
        class_names: the names of the run's classes, for the message about a run of other classes.

    Returns:
        The metrics of the same run if it is finished, else None.

    Raises:
        OSError: the directory cannot be made or written.
        ValueError: the directory holds a run of another configuration, the runs of several seeds,
            or files with the names of a run's files but no configuration.
    """
    check_writable(path)
    if overwrite:
        remove(path)
    _refuse_seeds(path)
    _check_configuration(path, configuration, class_names=class_names)
    if (path / METRICS).exists():
        return read_json(path / METRICS)
    # Partial files are removed. A process that was killed while it wrote a file may have left one.
    for file in path.glob(".*.partial*"):
        file.unlink()
    if not states(path):
        # The run has no saved state and starts from step 0. TensorBoard events of an earlier start
        # are removed, because TensorBoard would draw them together with the new events.
        shutil.rmtree(path / EVENTS, ignore_errors=True)
    write_json(path / CONFIG, configuration)
    return None


def check_usable(path: str | os.PathLike, known: dict, overwrite: bool) -> None:
    """Checks that a run can be started in a directory, before the task is read; changes no file.

    Args:
        path: the directory, which may not exist yet.
        known: the entries of the run's configuration that are known already.
        overwrite: as for `claim`.

    Raises:
        OSError, ValueError: `claim` would raise this error later.
    """
    path = Path(path).expanduser()
    check_writable_later(path)
    if not overwrite:
        _refuse_seeds(path)
        _check_configuration(path, plain(known), known)


def check_writable_later(path: Path) -> None:
    """Raises an OSError if a directory cannot be made and written; makes nothing yet."""
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise _unwritable(path, NotADirectoryError(f"{nearest} is not a directory"))
    _try_to_write(path, nearest)


def remove(path: Path) -> None:
    """Removes the files of a run, or of the runs of several seeds, and nothing else.

    Raises:
        BlockingIOError: another process is training there.
    """
    remove_runs(seed_runs(path))
    with held(path):
        for file in _run_files(path):
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink()


def remove_runs(runs: Iterable[Path]) -> None:
    """Removes the files of several runs, and the runs' directories if they are then empty."""
    for run in runs:
        remove(run)
        # A run's directory that still holds other files cannot be removed and is kept.
        with contextlib.suppress(OSError):
            run.rmdir()


def seed_run(path: Path, seed: int) -> Path:
    """Returns the subdirectory for the run with a seed, such as seed-0."""
    return path / f"seed-{seed}"


def seed_runs(path: Path) -> list[Path]:
    """Returns the subdirectories, such as seed-0, that hold the run of one seed."""
    found = (config.parent for config in path.glob(f"seed-*/{CONFIG}"))
    runs = [run for run in found if _SEED_RUN.fullmatch(run.name)]
    return sorted(runs, key=lambda run: natural_key(run.name))


def state(path: Path, step: int) -> Path:
    """Returns the path of the file that stores the training state after a step."""
    return path / f"state-{step}.npz"


def states(path: Path) -> list[Path]:
    """Returns the files with saved training states of a run; the newest is the last."""
    return sorted(_matching(path, _STATE), key=step_of)


def is_begun(path: Path) -> bool:
    """Returns True if a directory holds a finished run or a saved state of an unfinished run."""
    return (path / METRICS).exists() or bool(states(path))


def step_of(state: Path) -> int:
    """Returns the step after which a training state was saved, from the name of its file."""
    return int(_STATE.fullmatch(state.name)[1])


def set_aside(state: Path) -> Path:
    """Renames a damaged state file, so that later calls ignore it; returns the new path."""
    return state.rename(state.with_name(f"{state.name}.damaged"))


def remove_states(path: Path) -> None:
    """Removes all saved training states of a run, including damaged files that were renamed."""
    for file in (*states(path), *_matching(path, _DAMAGED_STATE)):
        file.unlink()


def plain(content: dict) -> dict:
    """Converts a dict to what JSON can store: tuples to lists, numpy numbers to Python numbers."""
    return json.loads(_json(content))


def read_json(path: Path, advice: str = _ANOTHER_DIRECTORY) -> dict:
    """Returns the JSON object that a file holds, as a dict.

    Args:
        path: the file.
        advice: what the message for a damaged file says to do; by default, how a run is started
            anew.

    Raises:
        ValueError: the file is damaged, or holds something else than an object.
    """
    try:
        content = json.loads(read_regular_file(path))
        if isinstance(content, dict):
            return content
        problem = "expected a JSON object"
    # `json.loads` raises a RecursionError for JSON that is nested too deep.
    except (ValueError, RecursionError, SpecialFileError) as error:
        problem = str(error)
    raise ValueError(f"{path} is damaged ({problem}). {advice}")


def write_json(path: Path, content: dict) -> None:
    """Writes a JSON file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(_json(content, indent=2) + "\n")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that a result depends on."""
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
    }


def check_writable(path: Path) -> None:
    """Makes a directory if it does not exist; raises an OSError if no file can be written in it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    _try_to_write(path, path)


def _try_to_write(path: Path, folder: Path) -> None:
    """Raises an OSError that names the output directory if a folder takes no file.

    The file that is tried has no name, so it is gone when it is closed.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OSError:
    return type(error)(
        f"The output directory {path} cannot be written ({error.strerror or error}). Choose "
        "another one with output_dir."
    )


def refuse_other(
    path: Path, there: dict, here: dict, class_names: Sequence[str] | None = None
) -> None:
    """Raises a ValueError that names the differences if two configurations differ."""
    there, here = flat(there), flat(here)
    keys = sorted(there.keys() | here.keys())
    different = [key for key in keys if there.get(key) != here.get(key)]
    if different:
        file = path / TASK
        names = (read_json(file).get("class_names") if file.exists() else None) or ()
        differences = "; ".join(
            difference(key, there.get(key), here.get(key), names, class_names or ())
            for key in different
        )
        steps = any(key.endswith("steps") for key in different)
        raise ValueError(
            f"{path} belongs to a run of another configuration: {differences}. Choose another "
            "output_dir (--output_dir), or pass overwrite (--overwrite) to start anew in this one."
            f"{_OTHER_STEPS if steps else ''}"
        )


def flat(configuration: dict) -> dict:
    """Flattens a nested configuration: the key of an inner value becomes `outer.inner`.

    >>> flat({"seed": 0, "rule": {"steps": 3}, "budget": {}})
    {'seed': 0, 'rule.steps': 3}
    """
    flat = {}
    for key, value in configuration.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": entry for name, entry in value.items()}
        else:
            flat[key] = value
    return flat


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Locks a run's directory against other processes for the duration of a `with` block.

    A process may nest blocks over the same directory. Where the file system has no locks, a
    warning is logged and the block runs without a lock.

    Args:
        directory: the directory of the run; it exists.

    Raises:
        BlockingIOError: another process has locked the directory.
    """
    name = os.path.realpath(directory)
    if name in _locked:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FileLock(directory / LOCK, timeout=0))
            stack.callback(_remove_lock, directory)
        except Timeout as error:
            raise BlockingIOError(
                f"Another process is training in {directory}. Wait until it has ended, or choose "
                f"another output_dir. (It has locked {directory / LOCK}.)"
            ) from error
        except (OSError, NotImplementedError) as error:
            logging.warning(
                "%s cannot be locked (%s): start only one run in it at a time.", directory, error
            )
        _locked.add(name)
        stack.callback(_locked.discard, name)
        yield


def _json(content: dict, **form: int) -> str:
    # `json` cannot store numpy numbers; their method item() returns a Python number.
    return json.dumps(content, default=lambda number: number.item(), **form)


def _run_files(path: Path) -> list[Path]:
    named = [path / name for name in _FILES if (path / name).exists()]
    return [*named, *states(path), *_matching(path, _DAMAGED_STATE)]


def _matching(path: Path, pattern: re.Pattern) -> list[Path]:
    return [file for file in path.glob("*") if pattern.fullmatch(file.name)]


def _refuse_seeds(path: Path) -> None:
    if (path / SEEDS).exists() or seed_runs(path):
        raise ValueError(
            f"{path} holds the runs of several seeds. Choose another output_dir (--output_dir), or "
            "pass overwrite (--overwrite) to remove them."
        )


def _check_configuration(
    path: Path,
    configuration: dict,
    compared: Iterable[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Raises a ValueError if a directory holds files of another run or of an unknown run.

    Args:
        path: the directory.
        configuration: the configuration.
        compared: the entries that are compared; None compares all.
        class_names: as for `claim`.
    """
    if not (path / CONFIG).exists():
        unknown = _run_files(path)
        if unknown:
            raise ValueError(
                f"{path} holds {unknown[0].name} but no {CONFIG}, so it is not known "
                "which run this is. Choose another output_dir (--output_dir), or pass overwrite "
                "(--overwrite) to remove it."
            )
        return
    there = read_json(path / CONFIG)
    if compared is not None:
        there = {key: there.get(key) for key in compared}
    refuse_other(path, there, configuration, class_names)


def _remove_lock(directory: Path) -> None:
    # The lock file is removed while this process still holds the lock, because after the release it
    # could be the lock file of another process. Some systems cannot remove an open file; a lock
    # file that is left behind does no harm.
    with contextlib.suppress(OSError):
        (directory / LOCK).unlink()

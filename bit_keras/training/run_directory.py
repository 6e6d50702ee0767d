"""The directory of a run: one configuration, and metrics.json when it has ended.

config.json      written first: what was asked for
state-N.npz      the newest states, after step N, until the run is finished
metrics.json     written last: what came out; a run that has it is finished
.lock            while a process writes there (run_lock.py)
the rest         model.keras, pictures, tensorboard/

The runs of several seeds are in subdirectories, seed-0 and so on, beside seeds.json.
"""

import contextlib
import json
import os
import platform
import re
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

from bit_keras.atomic_file import written_whole
from bit_keras.training import run_lock

CONFIG, METRICS = "config.json", "metrics.json"
HISTORY, MODEL, EVENTS = "history.json", "model.keras", "tensorboard"
WEIGHTS = "weights.npz"
CURVE, PREDICTIONS = "learning_curve.png", "predictions.png"
SEEDS = "seeds.json"

_SEED_RUN = re.compile(r"seed-\d+")
_STATE = re.compile(r"state-(\d+)\.npz")
_DAMAGED = ".damaged"

_PACKAGES = ("bit_keras", "keras", "tensorflow", "numpy")


def claim(path: str | os.PathLike, configuration: dict, overwrite: bool) -> dict | None:
    """Makes `path` the directory of a run, before anything is computed.

    Args:
        path: the directory; made if need be.
        configuration: what the run was asked for; `plain` data.
        overwrite: whether to remove an earlier run's files, and only those.

    Returns:
        The metrics of the same run if it is finished, else None.

    Raises:
        OSError: the directory cannot be made or written.
        ValueError: it holds a run of another configuration, the runs of several seeds, or such
            files of unknown origin.
    """
    path = Path(path)
    check_writable(path)
    if overwrite:
        remove(path)
    if (path / SEEDS).exists() or seed_runs(path):
        raise ValueError(
            f"{path} holds the runs of several seeds. Choose another output_dir, or pass overwrite "
            "to remove them."
        )
    _check_configuration(path, configuration)
    if (path / METRICS).exists():
        return read_json(path / METRICS)
    _remove_leftovers(path)
    if not states(path):
        # It starts over: events of the first attempt would be drawn over the new ones.
        shutil.rmtree(path / EVENTS, ignore_errors=True)
    write_json(path / CONFIG, configuration)
    return None


def remove(path: Path) -> None:
    """Removes the files of a run, or of the runs of several seeds, and nothing else.

    Raises:
        BlockingIOError: another process is training there.
    """
    for run in seed_runs(path):
        remove(run)
        with contextlib.suppress(OSError):  # something else is in it
            run.rmdir()
    with run_lock.held(path):
        for file in _run_files(path):
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink()


def seed_run(path: Path, seed: int) -> Path:
    """Returns the directory of a seed's run, below that of several."""
    return path / f"seed-{seed}"


def seed_runs(path: Path) -> list[Path]:
    """Returns those directories of seeds' runs that hold one."""
    found = (config.parent for config in path.glob(f"seed-*/{CONFIG}"))
    return sorted(run for run in found if _SEED_RUN.fullmatch(run.name))


def state(path: Path, step: int) -> Path:
    """Returns the file of a run's state after a step."""
    return path / f"state-{step}.npz"


def states(path: Path) -> list[Path]:
    """Returns the files of a run's states, the newest last."""
    found = (file for file in path.glob("state-*.npz") if _STATE.fullmatch(file.name))
    return sorted(found, key=step_of)


def step_of(state: Path) -> int:
    """Returns the step after which a state was saved."""
    return int(_STATE.fullmatch(state.name)[1])


def set_aside(state: Path) -> Path:
    """Renames a damaged state, which is then no longer one of `states`."""
    return state.rename(state.with_name(state.name + _DAMAGED))


def remove_states(path: Path) -> None:
    """Removes the states of a run that is finished, those that were set aside too."""
    for file in (*states(path), *_damaged(path)):
        file.unlink()


def plain(content: dict) -> dict:
    """Returns the content as JSON will give it back: lists for tuples, Python's numbers."""
    return json.loads(_json(content))


def read_json(path: Path) -> dict:
    """Returns the content of a JSON file.

    Raises:
        ValueError: it is damaged.
    """
    try:
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            return content
        problem = "it holds no object"
    except (ValueError, IsADirectoryError) as error:
        problem = str(error)
    raise ValueError(f"{path} is damaged ({problem}). Choose another output_dir, or overwrite.")


def write_json(path: Path, content: dict) -> None:
    """Writes a JSON file whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(_json(content, indent=2) + "\n")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide a result."""
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
    }


def check_writable(path: Path) -> None:
    """Makes the directory if need be, and raises an OSError if it cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise type(error)(
            f"The output directory {path} cannot be written ({error.strerror}). "
            "Choose another one with output_dir."
        ) from error


def _json(content: dict, **form: int) -> str:
    # JSON knows no number of numpy's.
    return json.dumps(content, default=lambda number: number.item(), **form)


def _run_files(path: Path) -> list[Path]:
    names = (CONFIG, METRICS, HISTORY, MODEL, WEIGHTS, CURVE, PREDICTIONS, EVENTS, SEEDS)
    named = [path / name for name in names if (path / name).exists()]
    return [*named, *states(path), *_damaged(path)]


def _damaged(path: Path) -> list[Path]:
    found = path.glob(f"state-*.npz{_DAMAGED}")
    return [file for file in found if _STATE.fullmatch(file.name.removesuffix(_DAMAGED))]


def _remove_leftovers(path: Path) -> None:
    """Removes what a kill left of files that were being written (`atomic_file.written_whole`)."""
    for file in path.glob(".*.partial*"):
        file.unlink()


def _check_configuration(path: Path, configuration: dict) -> None:
    if not (path / CONFIG).exists():
        unknown = _run_files(path)
        if unknown:
            raise ValueError(
                f"{path} holds {unknown[0].name} but no {CONFIG}, so it is not known which run it "
                "belongs to. Choose another output_dir, or pass overwrite to remove it."
            )
        return
    refuse_other(path, read_json(path / CONFIG), configuration)


def refuse_other(path: Path, there: dict, here: dict) -> None:
    """Raises a ValueError that names what differs between two configurations, if anything does."""
    there, here = flat(there), flat(here)
    different = [
        f"{key} is {there.get(key)!r} there and {here.get(key)!r} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    if different:
        raise ValueError(
            f"{path} belongs to a run of another configuration: {'; '.join(different)}. "
            "Choose another output_dir, or pass overwrite to start anew in this one."
        )


def flat(configuration: dict) -> dict:
    """Returns the configuration with the entries of inner dicts as `outer.inner`."""
    flat = {}
    for key, value in configuration.items():
        inner = value if isinstance(value, dict) else {}
        flat |= {f"{key}.{name}": entry for name, entry in inner.items()} or {key: value}
    return flat

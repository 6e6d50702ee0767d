"""The pictures of the report, as data: URIs."""

import base64
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bit_keras.studies.columns import Column
from bit_keras.studies.found_runs import FoundRun
from bit_keras.studies.report_tables import vtab_results
from bit_keras.studies.vtab_picture import plot_vtab
from bit_keras.training import run_directory

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A PNG in a page.

    Attributes:
        title: what is above it.
        alt: what is read out instead of it.
        uri: all of it.
        is_study: whether it sums up many runs.
    """

    title: str
    alt: str
    uri: str
    is_study: bool


@dataclass(frozen=True)
class _Kind:
    """A picture that a command leaves in its directory."""

    file: str
    alt: str
    is_study: bool = False


_KINDS = {
    "finetune": _Kind(
        run_directory.CURVE, "Training loss, learning rate and accuracy over the steps"
    ),
    "fewshot": _Kind("fewshot.png", "Test accuracy over the examples of a class", is_study=True),
    "evaluate": _Kind("confusion_matrix.png", "Confusion matrix"),
}


def pictures_of_runs(runs: Iterable[FoundRun]) -> list[Picture]:
    """Returns the picture that each run left, where it is there and is a PNG."""
    return [picture for run in runs if (picture := _picture(run)) is not None]


def pictures_of_vtab(columns: Sequence[Column], names: Sequence[str]) -> list[Picture]:
    """Returns the bars of each column that has run tasks of VTAB-1k."""
    pictures = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "vtab.png")
        for name, column in zip(names, columns, strict=True):
            results = vtab_results(column)
            if results:
                plot_vtab(results, f"{name}: {column.title}", path)
                alt = "A bar for the test accuracy on each task of VTAB-1k, by group"
                title = f"VTAB-1k, {name}: {column.title}"
                pictures.append(Picture(title, alt, _uri(path.read_bytes()), is_study=True))
    return pictures


def _picture(run: FoundRun) -> Picture | None:
    kind = _KINDS.get(run.command)
    if kind is None or not (run.path / kind.file).is_file():
        return None
    content = (run.path / kind.file).read_bytes()
    if not content.startswith(_PNG):
        return None
    asked = run.configuration
    subject = f"{asked.get('model', '')} on {asked.get('task', '')}"
    seed = "" if run.seed is None else f", seed {run.seed}"
    accuracy = "" if run.accuracy is None else f", {run.accuracy:.2%}"
    title = f"{run.command}: {subject}{seed}{accuracy} ({run.path})"
    return Picture(title, f"{kind.alt}: {subject}", _uri(content), kind.is_study)


def _uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"

"""The pictures in a report's HTML page, embedded as data: URIs."""

import base64
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bit_keras.evaluation.evaluate import CONFUSION
from bit_keras.experiments import fewshot_report
from bit_keras.experiments.report_columns import Column
from bit_keras.experiments.report_tables import vtab_results
from bit_keras.experiments.vtab_report import plot_vtab
from bit_keras.runs import run_directory
from bit_keras.runs.found_runs import FoundRun

_PNG = b"\x89PNG\r\n\x1a\n"

_CURVE = (run_directory.CURVE, "Training loss, learning rate and accuracy over the steps")

# Maps a subcommand of bit-keras to the picture file that it writes, and to the description of the
# picture.
_FILES = {
    "finetune": _CURVE,
    "pretrain": _CURVE,
    "distill": _CURVE,
    "fewshot": (fewshot_report.PICTURE, "Test accuracy over the examples of a class"),
    "evaluate": (CONFUSION, "Confusion matrix"),
}


@dataclass(frozen=True)
class Picture:
    """A PNG that is embedded in the report's HTML page.

    Attributes:
        title: the heading of the picture.
        alt: the description that a screen reader reads out.
        uri: the whole PNG as a data: URI.
        is_study: True if the picture shows several runs.
    """

    title: str
    alt: str
    uri: str
    is_study: bool


def pictures_of_runs(runs: Iterable[FoundRun]) -> list[Picture]:
    """Returns the pictures of the runs; a run without a valid PNG file is left out."""
    return [picture for run in runs if (picture := _picture(run)) is not None]


def pictures_of_vtab(columns: Sequence[Column], names: Sequence[str]) -> list[Picture]:
    """Returns a bar chart for each column of the report that has runs on tasks of VTAB-1k."""
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
    name, alt = _FILES.get(run.command, (None, None))
    if name is None or not (run.path / name).is_file():
        return None
    content = (run.path / name).read_bytes()
    if not content.startswith(_PNG):
        return None
    asked = run.configuration
    subject = f"{asked.get('model', '')} on {asked.get('task', '')}"
    seed = "" if run.seed is None else f", seed {run.seed}"
    accuracy = "" if run.accuracy is None else f", {run.accuracy:.2%}"
    title = f"{run.command}: {subject}{seed}{accuracy} ({run.path})"
    return Picture(title, f"{alt}: {subject}", _uri(content), run.is_study)


def _uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"

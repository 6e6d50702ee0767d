"""Where a trained model lies: a run's directory, a .keras file, or a published checkpoint."""

from __future__ import annotations

import os
import textwrap
import zipfile
from dataclasses import dataclass
from pathlib import Path

import keras

from bit_keras import zoo
from bit_keras.checkpoints import cache
from bit_keras.checkpoints.catalog import CHECKPOINTS, Checkpoint
from bit_keras.nearest_name import nearest_name
from bit_keras.training import run_directory


@dataclass(frozen=True)
class SavedModel:
    """A .keras file, and what is known of the run that wrote it.

    Attributes:
        file: the file.
        label: what it is called, in names of directories.
        name: of its network, as its run called it, or None.
        weights: "saved".
        task: the name of its run's task, or None.
        crop: the test resolution of its run, or None.
        classes: None: only loading tells.
    """

    file: Path
    label: str
    name: str | None = None
    weights: str = "saved"
    task: str | None = None
    crop: int | None = None
    classes: int | None = None

    def load(self) -> keras.Model:
        """Returns the model, not compiled; code that a file holds is never run.

        Raises:
            ValueError: the file is damaged, or not made of layers that Keras and bit_keras know.
        """
        try:
            problem = _problem_of_archive(self.file)
            if problem is None:
                return keras.saving.load_model(self.file, compile=False, safe_mode=True)
        except Exception as error:  # a damaged file makes Keras, h5py and zipfile raise anything
            cause = _first_cause(error)
            if isinstance(cause, MemoryError):
                raise
            # Keras adds the whole configuration.
            problem = textwrap.shorten(f"{type(cause).__name__}: {cause}", 150, placeholder=" ...")
        raise ValueError(
            f"{self.file} cannot be loaded ({problem}). Expected a file that model.save wrote, of "
            "layers that Keras or bit_keras define: a Lambda, or a class of somebody's own, is not "
            "loaded, since it would run code from the file."
        )


@dataclass(frozen=True)
class ZooModel:
    """A model of the zoo with its weights, which may have to be downloaded.

    Attributes:
        name: from `bit_keras.list_models()`.
        weights: a published checkpoint's name, or the path of an npz file.
        task: None: it belongs to no run.
    """

    name: str
    weights: str
    task: None = None

    @property
    def label(self) -> str:
        """What it is called, in names of directories."""
        published = self._checkpoint is not None
        return f"{self.name}-{self.weights if published else Path(self.weights).stem}"

    @property
    def classes(self) -> int | None:
        """The size of the head; None where only reading the file tells."""
        return self._checkpoint.classes if self._checkpoint else None

    @property
    def crop(self) -> int | None:
        """The resolution that it was trained at last; None where no one published it."""
        return self._checkpoint.resolution if self._checkpoint else None

    @property
    def file(self) -> Path:
        """The npz file; a published one is there once it was loaded."""
        if self._checkpoint is None:
            return Path(self.weights)
        return cache.cache_path(self._checkpoint.file)

    def load(self) -> keras.Model:
        """Returns the model, with the head of its weights.

        Raises:
            OSError: the weights are not on this machine and cannot be fetched.
            CheckpointError: they do not fit, or are damaged.
        """
        return zoo.create(self.name, pretrained=self.weights)

    @property
    def _checkpoint(self) -> Checkpoint | None:
        return CHECKPOINTS.get((self.name, self.weights))


def find_model(model: str | os.PathLike, weights: str | None = None) -> SavedModel | ZooModel:
    """Returns where a model lies; nothing is loaded.

    Args:
        model: the directory of a finished run, a .keras file, or a name from `list_models()`.
        weights: of a named model: a name from `list_checkpoints(model)`, or the path of an npz
            file; None is the upstream checkpoint.

    Raises:
        OSError: there is no such model.
        ValueError: it is no model, or a run that has not ended.
    """
    if str(model) in zoo.VARIANTS:
        return ZooModel(str(model), "upstream" if weights is None else str(weights))
    if weights is not None:
        raise ValueError(
            f"weights={str(weights)!r} for {model}, which has its own. Weights (--weights) are "
            "for a model that is given by its name, such as BiT-M-R50x1."
        )
    path = Path(model).expanduser()
    if path.is_dir():
        return _of_run(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no model {model}: expected the directory of a run, a .keras file, or a "
            f"name of the zoo, of which {nearest_name(model, zoo.VARIANTS)!r} is the nearest."
        )
    if path.suffix != ".keras":
        hint = " Name the network that it belongs to, with the file as its weights (--weights)."
        raise ValueError(
            f"{path} is no .keras file.{hint if path.suffix == '.npz' else ''} Expected the "
            "directory of a run, a .keras file, or a name of the zoo."
        )
    is_of_run = path.name == run_directory.MODEL and (path.parent / run_directory.CONFIG).exists()
    return _of_run(path.parent) if is_of_run else SavedModel(path, path.stem)


def _of_run(directory: Path) -> SavedModel:
    if not (directory / run_directory.CONFIG).exists():
        raise ValueError(
            f"{directory} holds no {run_directory.CONFIG}: expected the directory of a run, as "
            "bit-keras finetune leaves it, or a .keras file."
        )
    configuration = run_directory.read_json(directory / run_directory.CONFIG)
    if not (directory / run_directory.METRICS).exists():
        raise ValueError(
            f"The run in {directory} has not ended: there is no {run_directory.METRICS}. Run it to "
            f"its end first, with the bit-keras {configuration.get('command')} that began it."
        )
    file = directory / run_directory.MODEL
    if not file.exists():
        raise ValueError(
            f"{directory} holds no {run_directory.MODEL} but a run of bit-keras "
            f"{configuration.get('command')}: expected one that trains a model."
        )
    rule = configuration.get("rule") or {}
    return SavedModel(
        file,
        label=directory.resolve().name,
        name=configuration.get("model"),
        task=configuration.get("task"),
        crop=rule.get("crop"),
    )


def _first_cause(error: BaseException) -> BaseException:
    """What went wrong before Keras wrapped it, once for each layer that it is in."""
    before = error.__cause__ or error.__context__
    return error if before is None else _first_cause(before)


def _problem_of_archive(file: Path) -> str | None:
    if not zipfile.is_zipfile(file):
        return "it is no zip archive, as one that was cut off"
    with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()
    return f"its part {damaged} is damaged" if damaged else None

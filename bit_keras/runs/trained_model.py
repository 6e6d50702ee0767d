"""Finds a trained model by a path or name: a run's directory, a .keras file, or a zoo model."""

from __future__ import annotations

import json
import os
import textwrap
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bit_keras.checkpoints import cache
from bit_keras.checkpoints.catalog import CHECKPOINTS, Checkpoint
from bit_keras.checkpoints.other_formats import description_of
from bit_keras.models import variants
from bit_keras.models.task_record import TaskRecord, remember, taken_from
from bit_keras.runs import run_directory
from bit_keras.utils.nearest_name import nearest_name

if TYPE_CHECKING:
    import keras


# The advice for a damaged file of the run of a model that is to be read.
_COPY_AGAIN = "Copy the file again from where the run was trained."


@dataclass(frozen=True)
class _TrainedModel:
    """A model with the record of the task that it was trained on.

    Attributes:
        record: the task that the model was trained on, as its run recorded it; None if the model
            was not trained by a run, or if the run recorded nothing.
    """

    record: TaskRecord | None = field(default=None, compare=False, kw_only=True)

    @property
    def task(self) -> str | None:
        """The name of the task of the model's run, or None."""
        return None if self.record is None else self.record.name

    @property
    def crop(self) -> int | None:
        """Side in pixels of the test images of the training; None if it is not known."""
        return None if self.record is None else self.record.crop

    @property
    def background(self) -> str:
        """The colour behind the transparent pixels of the training images: a name or a code."""
        return "white" if self.record is None else self.record.transparent_colour

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes in the order of the logits; None if the file has no record.

        Raises:
            ValueError, OSError, ImportError: the model's run did not keep the names, and they
                cannot be read from its task.
        """
        # `known_classes` imports the code of the tasks, so it is imported only when the names are
        # asked for.
        from bit_keras.runs.known_classes import names_of_run

        return None if self.record is None else names_of_run(self.record)


@dataclass(frozen=True)
class SavedModel(_TrainedModel):
    """A model in a .keras file; for the file of a run, also the model's name.

    Attributes:
        file: path of the .keras file.
        label: short name of the model, for names of directories.
        name: name of the network in the run's configuration, or None.
        weights: always "saved".
        classes: always None, because the number of classes is known only after loading.
    """

    file: Path
    label: str
    name: str | None = None
    weights: str = "saved"
    classes: int | None = None

    def load(self, compile: bool = False) -> keras.Model:
        """Loads the model; code inside the file is never run.

        Args:
            compile: if True, compile the model as it was when it was saved.

        Raises:
            ValueError: the file is damaged, or has layers that neither Keras nor bit_keras knows.
        """
        # Keras is imported only when a model is loaded. The import takes seconds, and `find_model`
        # can refuse a wrong name without it.
        import keras

        try:
            problem = _problem_of_archive(self.file)
            if problem is None:
                model = keras.saving.load_model(self.file, compile=compile, safe_mode=True)
                if self.record is not None:
                    # A model class that is not from bit_keras does not keep the class names in its
                    # .keras file, so they are taken from the record of the run.
                    remember(model, self.record)
                return model
        # If the file is damaged, Keras, h5py and zipfile raise errors of many types.
        except Exception as error:
            cause = _first_cause(error)
            if isinstance(cause, MemoryError):
                raise
            # Keras' error message is cut, because the model's whole configuration is appended to
            # it.
            problem = textwrap.shorten(f"{type(cause).__name__}: {cause}", 150, placeholder=" ...")
        raise ValueError(
            f"{self.file} cannot be loaded ({problem}). Expected a file written by model.save "
            "with layers that Keras or bit_keras defines. Lambda layers and custom classes are not "
            "loaded, because loading them would run code from the file."
        )


@dataclass(frozen=True)
class ZooModel(_TrainedModel):
    """A model of the zoo with its weights, which may have to be downloaded.

    The weights may be the npz file that a run wrote, and then the model has the record of the run.

    Attributes:
        name: from `bit_keras.list_models()`.
        weights: a published checkpoint's name, or the path of an npz file.
    """

    name: str
    weights: str

    @property
    def label(self) -> str:
        """Short name of the model, for names of directories."""
        published = self.checkpoint is not None
        return f"{self.name}-{self.weights if published else Path(self.weights).stem}"

    @property
    def classes(self) -> int | None:
        """Number of classes of the checkpoint's head; None if the weights are a user's npz file."""
        return self.checkpoint.classes if self.checkpoint else None

    @property
    def crop(self) -> int | None:
        """Side in pixels of the images that the model was trained on; None if it is not known."""
        return self.checkpoint.resolution if self.checkpoint is not None else super().crop

    @property
    def file(self) -> Path:
        """Path of the npz file; a published file is downloaded when the model is first loaded."""
        if self.checkpoint is None:
            return Path(self.weights).expanduser()
        return cache.cache_path(self.checkpoint.file)

    def load(self) -> keras.Model:
        """Builds the model with the head of its weight file, and loads the weights.

        Raises:
            OSError: the weights are not on this machine and cannot be fetched.
            CheckpointError: the weights do not fit the model, or are damaged.
        """
        from bit_keras.models.zoo import create

        model = create(self.name, pretrained=self.weights)
        if self.record is not None:
            remember(model, self.record)
        return model

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The published checkpoint of the weights; None if the weights are a user's npz file."""
        return CHECKPOINTS.get((self.name, self.weights))


def find_model(model: str | os.PathLike, weights: str | None = None) -> SavedModel | ZooModel:
    """Finds the trained model for a path or name, without loading it.

    Args:
        model: the directory of a finished run, a .keras file, or a name from `list_models()`.
        weights: only for a model given by name: a name from `list_checkpoints(model)`, or the
            path of an npz file. None means the upstream checkpoint.

    Raises:
        OSError: there is no such model.
        ValueError: the path is not a model, or is a run that has not ended.
    """
    if str(model) in variants.NETWORKS:
        weights = "upstream" if weights is None else str(weights)
        file = Path(weights).expanduser()
        is_of_run = (
            file.name == run_directory.WEIGHTS and (file.parent / run_directory.TASK).exists()
        )
        return ZooModel(str(model), weights, record=_record(file.parent) if is_of_run else None)
    if weights is not None:
        raise ValueError(
            f"weights={str(weights)!r} was given for {model}, which has its own weights. Weights "
            "(--weights) are for a model that is given by its name, such as BiT-M-R50x1."
        )
    path = Path(model).expanduser()
    if path.is_dir():
        return _of_run(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no model {model}{_known_format(model)}. Expected the directory of a run, a "
            ".keras file, or the name of a model; the nearest name is "
            f"{nearest_name(model, variants.NETWORKS)!r}."
        )
    if path.suffix != ".keras":
        hint = " Give the name of its network as the model and this file as weights (--weights)."
        raise ValueError(
            f"{path} is not a .keras file{_known_format(path)}."
            f"{hint if path.suffix == '.npz' else ''} Expected the "
            "directory of a run, a .keras file, or the name of a model."
        )
    is_of_run = path.name == run_directory.MODEL and (path.parent / run_directory.CONFIG).exists()
    if is_of_run:
        return _of_run(path.parent)
    return SavedModel(path, path.stem, record=_record_in_file(path))


def is_exported(path: object) -> bool:
    """Returns True for the path of an ONNX file or of the directory of a SavedModel."""
    if not isinstance(path, str | os.PathLike):
        return False
    path = Path(path).expanduser()
    return path.suffix == ".onnx" or (path / "saved_model.pb").is_file()


def check_weights_of(source: SavedModel | ZooModel) -> None:
    """Checks the user's own weight file of a named model, before the model is built.

    Raises:
        ValueError, OSError: `source.load` would raise this error later.
    """
    if isinstance(source, ZooModel) and source.checkpoint is None:
        from bit_keras.models.zoo import check_weights

        check_weights(source.name, source.weights)


def _of_run(directory: Path) -> SavedModel:
    if not (directory / run_directory.CONFIG).exists():
        raise ValueError(
            f"{directory} holds no {run_directory.CONFIG}{_known_format(directory)}. Expected the "
            "directory of a run, such as bit-keras finetune writes, or a .keras file."
        )
    configuration = run_directory.read_json(directory / run_directory.CONFIG, _COPY_AGAIN)
    if not (directory / run_directory.METRICS).exists():
        raise ValueError(
            f"The run in {directory} has not ended: it has no {run_directory.METRICS}. Finish it "
            f"first, with the command bit-keras {configuration.get('command')} that started it."
        )
    file = directory / run_directory.MODEL
    if not file.is_file():
        raise ValueError(
            f"{directory} is a run of bit-keras {configuration.get('command')} without a "
            f"{run_directory.MODEL}. Expected a run that trains a model."
        )
    record = _record(directory) or _record_of_configuration(configuration)
    if record is not None:
        # Earlier versions recorded the crop and the background only in config.json.
        crop = record.crop or (configuration.get("rule") or {}).get("crop")
        background = record.background or configuration.get("background")
        record = replace(record, crop=crop, background=background)
    label = directory.resolve().name
    return SavedModel(file, label, configuration.get("model"), record=record)


def _known_format(path: str | os.PathLike) -> str:
    """Returns the end of a message: what a path is and what reads it; "" if this is not known."""
    other = description_of(path)
    return f": it {other}" if other else ""


def _record(directory: Path) -> TaskRecord | None:
    """Returns the task record that a run wrote to task.json; None for a run of an earlier version.

    Raises:
        ValueError: the file of the record is damaged.
    """
    file = directory / run_directory.TASK
    if not file.exists():
        return None
    try:
        return TaskRecord.of_plain(run_directory.read_json(file, _COPY_AGAIN))
    except (ValueError, TypeError) as error:
        # The message of `read_json` names the file and the advice itself.
        if str(error).startswith(str(file)):
            raise
        raise ValueError(f"{file} is damaged ({error}). {_COPY_AGAIN}") from error


def _record_of_configuration(configuration: dict) -> TaskRecord | None:
    """Returns a task record made from the configuration of a run of an earlier version."""
    name, source = configuration.get("task"), configuration.get("source", "")
    if not isinstance(name, str) or not isinstance(source, str):
        return None
    digest = configuration.get("class_names_sha256")
    return TaskRecord(None, name, source=source, names_sha256=digest)


def _record_in_file(file: Path) -> TaskRecord | None:
    """Returns the task record inside a .keras file that belongs to no run; None if there is none.

    A damaged file has none here: loading it raises the error.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))["config"]
        return TaskRecord.of_plain(taken_from(config)[1])
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, zipfile.BadZipFile):
        return None


# A .keras file is refused if its members, when unpacked, are more than this many times as large as
# the file: such a file was made to fill a machine's memory.
_LARGEST_RATIO = 100


def _first_cause(error: BaseException) -> BaseException:
    """Returns the first error in a chain: Keras wraps an error again for each enclosing layer."""
    before = error.__cause__ or error.__context__
    return error if before is None else _first_cause(before)


def _problem_of_archive(file: Path) -> str | None:
    if not zipfile.is_zipfile(file):
        return "it is not a zip archive, or was cut off"
    with zipfile.ZipFile(file) as archive:
        # Keras stores the members of a .keras archive uncompressed, and even compressed weights
        # would hardly be smaller. The members of a good file are therefore about as large as the
        # file.
        size = sum(member.file_size for member in archive.infolist())
        if size > _LARGEST_RATIO * file.stat().st_size:
            return f"its members hold {size} bytes, {_LARGEST_RATIO} times as many as the file"
        damaged = archive.testzip()
    return f"its member {damaged} is damaged" if damaged else None

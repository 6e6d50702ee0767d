"""Which modules a model of the zoo, an npz file or a trained model gives."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import bit_keras
from bit_keras.checkpoints.catalog import CHECKPOINTS
from bit_keras.checkpoints.npz import read_contents
from bit_keras.studies.model_source import find_model
from export.error import PublishError
from export.handle import check_handle
from export.site import sha256

# The release's code and weights (google-research/big_transfer).
_ZOO_LICENCE = "Apache-2.0"

_NOT_STATED = "not stated"


@dataclass(frozen=True)
class Module:
    """What a published module is made of.

    Attributes:
        handle: its name and version.
        model: a name of the zoo, or None for a file that has its own network.
        weights: the name of a published checkpoint, or the path of an npz or .keras file.
        include_top: whether it classifies; else it gives features.
        sha256: of the file, or None for a published checkpoint, which may be still to be fetched.
        upstream_classes: 1000 or 21843 where the release's list names its classes.
        class_names: otherwise, or None for numbers.
        image_size: side in pixels to which `serving_bytes` resizes; None is the export's default.
        licence: of the weights.
    """

    handle: str
    model: str | None
    weights: str
    include_top: bool = True
    sha256: str | None = None
    upstream_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    image_size: int | None = None
    licence: str = _NOT_STATED

    @property
    def source(self) -> str:
        """The file that the weights are in, without its directory."""
        if self.sha256 is None:
            return CHECKPOINTS[self.model, self.weights].file
        return Path(self.weights).name

    def identity(self) -> str:
        """Returns a digest of all that the module's content depends on, but for software."""
        values = {**asdict(self), "weights": self.source}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Row:
    suffix: str  # of the handle
    checkpoint: str
    include_top: bool


# As Google's modules on TF-Hub are named.
_ROWS = {
    "S": (
        _Row("", "upstream", False),
        _Row("/ilsvrc2012_classification", "upstream", True),
    ),
    "M": (
        _Row("", "upstream", False),
        _Row("/imagenet21k_classification", "upstream", True),
        _Row("/ilsvrc2012_classification", "ilsvrc2012", True),
    ),
    "L": (),  # never released
}


def modules_of_zoo() -> list[Module]:
    """Returns the modules of every model that has published weights."""
    return [module for model in bit_keras.list_models() for module in _published(model)]


def modules_of(
    model: str | None,
    weights: str | None,
    handle: str | None,
    class_names: tuple[str, ...] | None = None,
    image_size: int | None = None,
    licence: str | None = None,
) -> list[Module]:
    """Returns the modules that the publisher's flags ask for.

    Args:
        model: a name of the zoo, or None.
        weights: an npz file of that model, or without a model a .keras file or a run's directory;
            None for the model's published checkpoints.
        handle: of the one module that a file gives. None for an npz file that stands in for a
            published checkpoint.
        class_names: of a file's classes.
        image_size: side in pixels for `serving_bytes`.
        licence: of a file's weights.

    Raises:
        PublishError: the arguments do not go together.
        OSError: there is no such file.
        ValueError: an unknown model, or a file that is none.
    """
    if handle is not None:
        check_handle(handle)
    if weights is None:
        return _of_name(model, handle, class_names, image_size, licence)
    own = {
        "class_names": class_names,
        "image_size": image_size,
        "licence": licence or _NOT_STATED,
    }
    if model is None:
        return [_of_saved(weights, handle, own)]
    return _of_npz(model, weights, handle, own)


def _of_name(model, handle, *others) -> list[Module]:
    if model is None:
        raise PublishError(
            "Nothing to publish: give --model=BiT-M-R50x1, --weights=model.keras with "
            "--handle=my/flowers/1, or --all."
        )
    if handle is not None or any(other is not None for other in others):
        raise PublishError(
            f"Without --weights, {model} has the handles, class names, image size and licence of "
            "its published checkpoints: leave --handle, --class_names, --image_size and --licence "
            "out."
        )
    modules = _published(model)
    if not modules:
        raise PublishError(
            f"No weights of {model} were released. Give an npz file (--weights) and a --handle."
        )
    return modules


def _published(model: str) -> list[Module]:
    bit_keras.list_checkpoints(model)  # refuses an unknown name, and says which is the nearest
    return [_of_row(model, row) for row in _ROWS[_family(model)]]


def _of_row(model: str, row: _Row) -> Module:
    checkpoint = CHECKPOINTS[model, row.checkpoint]
    return Module(
        handle=_handle(model, row),
        model=model,
        weights=row.checkpoint,
        include_top=row.include_top,
        upstream_classes=checkpoint.classes if row.include_top else None,
        image_size=checkpoint.resolution,
        licence=_ZOO_LICENCE,
    )


def _of_npz(model: str, weights: str, handle: str | None, own: dict) -> list[Module]:
    bit_keras.list_checkpoints(model)
    path = Path(weights).expanduser().resolve()
    classes = read_contents(path).classes
    own |= {"model": model, "weights": str(path), "sha256": sha256(path)}
    if handle is not None:
        return [Module(handle, include_top=classes is not None, **own)]
    rows = [
        row
        for row in _ROWS[_family(model)]
        if CHECKPOINTS[model, row.checkpoint].classes == classes
    ]
    if not rows:
        raise PublishError(
            f"{path} has {classes or 'no'} classes, which no published checkpoint of {model} has. "
            "Give the module a name and a version: --handle=my/flowers/1."
        )
    named = own["class_names"] is not None
    head = {True: {"upstream_classes": None if named else classes}, False: {"class_names": None}}
    return [
        Module(
            _handle(model, row), **{**own, "include_top": row.include_top, **head[row.include_top]}
        )
        for row in rows
    ]


def _of_saved(weights: str, handle: str | None, own: dict) -> Module:
    source = find_model(weights)
    if source.task is None and Path(weights).suffix != ".keras":
        raise PublishError(f"--weights={weights} without --model: expected a .keras file.")
    if handle is None:
        raise PublishError(f"{weights} needs a name and a version: --handle=my/flowers/1.")
    path = source.file.resolve()
    if own["class_names"] is None and source.task is not None:
        own["class_names"] = _names_of_task(source.task)
    own["image_size"] = own["image_size"] or source.crop
    return Module(handle, model=None, weights=str(path), sha256=sha256(path), **own)


def _names_of_task(name: str) -> tuple[str, ...]:
    try:
        return tuple(bit_keras.task(name).class_names)
    except (ValueError, OSError, ImportError) as error:
        raise PublishError(
            f"The names of the classes of {name} are not to be had ({error}). Give a file with a "
            "name a line: --class_names."
        ) from error


def _family(model: str) -> str:
    return model.split("-")[1]


def _handle(model: str, row: _Row) -> str:
    return f"bit/{model.lower().removeprefix('bit-')}{row.suffix}/1"

"""Finds the modules to publish for a named model, an npz file or a trained model."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import bit_keras
from export.error import PublishError
from export.handle import check_handle
from export.site import sha256

# The licence of the official code and weights (google-research/big_transfer).
_ZOO_LICENCE = "Apache-2.0"

_NOT_STATED = "not stated"

# The values of black and white in the images that a network of BiT takes.
_NETWORK_RANGE = (-1.0, 1.0)


@dataclass(frozen=True)
class Module:
    """A module to publish: its handle, model, weights and description.

    Attributes:
        handle: the name and version of the module.
        model: a name of the zoo, or None for a file that has its own network.
        weights: the name of a published checkpoint, or the path of an npz or .keras file.
        include_top: if True, the module is a classifier; if False, it gives features.
        sha256: the digest of the file, or None for a published checkpoint, which may not be
            downloaded yet.
        upstream_classes: 1000 or 21843 if the class names are those of the official release, else
            None.
        class_names: the class names of a module without `upstream_classes`; None means that the
            classes have numbers for names.
        image_size: the side in pixels to which `serving_bytes` resizes images; None means the
            default of `bit_keras.export_saved_model`.
        background: the colour that `serving_bytes` puts behind transparent pixels.
        model_range: the values of black and white in the images that the model itself takes; None
            means that they are found from its layers.
        licence: the licence of the weights.
    """

    handle: str
    model: str | None
    weights: str
    include_top: bool = True
    sha256: str | None = None
    upstream_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    image_size: int | None = None
    background: str = "white"
    model_range: tuple[float, float] | None = None
    licence: str = _NOT_STATED

    @property
    def source(self) -> str:
        """The name of the file that holds the weights, without its directory."""
        if self.sha256 is None:
            return bit_keras.find_model(self.model, self.weights).checkpoint.file
        return Path(self.weights).name

    def identity(self) -> str:
        """Returns the sha256 of all that determines a module's content but software versions."""
        values = {**asdict(self), "weights": self.source}
        # Two entries are left out where they have no effect, because the modules that an earlier
        # version published were identified without them.
        if self.background == "white":
            del values["background"]
        if self.model_range in (None, _NETWORK_RANGE):
            del values["model_range"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Row:
    """A kind of module, published for each model of a family; its name ends in `suffix`."""

    suffix: str
    checkpoint: str
    include_top: bool


# Maps a family of models (S or M) to its kinds of modules, which have names like those of Google's
# modules on TF-Hub. The weights of the family BiT-L were never released.
_ROWS_OF_FAMILY = {
    "S": (
        _Row("", "upstream", False),
        _Row("/ilsvrc2012_classification", "upstream", True),
    ),
    "M": (
        _Row("", "upstream", False),
        _Row("/imagenet21k_classification", "upstream", True),
        _Row("/ilsvrc2012_classification", "ilsvrc2012", True),
    ),
}


def modules_of_zoo() -> list[Module]:
    """Returns the modules to publish for all models of the zoo that have published weights."""
    return [module for model in bit_keras.list_models() for module in _published(model)]


def modules_of(
    model: str | None,
    weights: str | None,
    handle: str | None,
    class_names: tuple[str, ...] | None = None,
    image_size: int | None = None,
    licence: str | None = None,
) -> list[Module]:
    """Returns the modules that the values of the command-line flags ask to publish.

    Args:
        model: a name of the zoo, or None.
        weights: an npz file of that model, or without a model a .keras file or a run's directory;
            None for the model's published checkpoints.
        handle: the handle of the module that a file gives; None for an npz file that replaces a
            published checkpoint.
        class_names: the names of the classes of a file.
        image_size: the side in pixels to which `serving_bytes` resizes images.
        licence: the licence of a file's weights.

    Raises:
        PublishError: the arguments contradict each other.
        OSError: the file does not exist.
        ValueError: the model is unknown, or the file is not a file of weights.
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
            "There is nothing to publish. Give --model=BiT-M-R50x1, or --weights=model.keras with "
            "--handle=my/flowers/1, or --all."
        )
    if handle is not None or any(other is not None for other in others):
        raise PublishError(
            f"Without --weights, {model} is published with the handles, class names, image size "
            "and licence of its published checkpoints. Leave --handle, --class_names, --image_size "
            "and --licence out."
        )
    modules = _published(model)
    if not modules:
        raise PublishError(
            f"No weights of {model} were released. Give an npz file (--weights) and a --handle."
        )
    return modules


def _published(model: str) -> list[Module]:
    return [_of_row(model, row) for row in _rows(model)]


def _of_row(model: str, row: _Row) -> Module:
    checkpoint = bit_keras.find_model(model, row.checkpoint)
    return Module(
        handle=_handle(model, row),
        model=model,
        weights=row.checkpoint,
        include_top=row.include_top,
        upstream_classes=checkpoint.classes if row.include_top else None,
        image_size=checkpoint.crop,
        licence=_ZOO_LICENCE,
    )


def _of_npz(model: str, weights: str, handle: str | None, own: dict) -> list[Module]:
    rows = _rows(model)
    path = Path(weights).expanduser().resolve()
    classes = bit_keras.read_contents(path).classes
    background = bit_keras.find_model(model, weights).background
    own |= {
        "model": model,
        "weights": str(path),
        "sha256": sha256(path),
        "background": background,
    }
    if handle is not None:
        return [Module(handle, include_top=classes is not None, **own)]
    rows = [row for row in rows if bit_keras.find_model(model, row.checkpoint).classes == classes]
    if not rows:
        raise PublishError(
            f"{path} has {classes or 'no'} classes, but no published checkpoint of {model} has "
            "this number. Give the module a name and a version, such as --handle=my/flowers/1."
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
    source = bit_keras.find_model(weights)
    if source.task is None and Path(weights).suffix != ".keras":
        raise PublishError(
            f"--weights={weights} was given without --model. Expected a .keras file or a run."
        )
    if handle is None:
        raise PublishError(
            f"The module of {weights} needs a name and a version, such as --handle=my/flowers/1."
        )
    path = source.file.resolve()
    if own["class_names"] is None:
        own["class_names"] = _names_of_run(source)
    own["image_size"] = own["image_size"] or source.crop
    own["background"] = source.background
    # Every run trains on images in [-1, 1], whatever its model's layers make of them.
    own["model_range"] = None if source.task is None else _NETWORK_RANGE
    return Module(handle, model=None, weights=str(path), sha256=sha256(path), **own)


def _names_of_run(source) -> tuple[str, ...] | None:
    try:
        return source.class_names
    except (ValueError, OSError, ImportError) as error:
        raise PublishError(
            f"The class names of {source.task} cannot be loaded ({error}). Give a text file with "
            "one name in each line as --class_names."
        ) from error


def _rows(model: str) -> tuple[_Row, ...]:
    """Returns the kinds of modules of a model; none for a network without published weights.

    Raises:
        ValueError: the model is unknown.
    """
    # list_checkpoints is called only because it raises an error for an unknown model name.
    bit_keras.list_checkpoints(model)
    published = model in bit_keras.list_models()
    return _ROWS_OF_FAMILY.get(model.split("-")[1], ()) if published else ()


def _handle(model: str, row: _Row) -> str:
    return f"bit/{model.lower().removeprefix('bit-')}{row.suffix}/1"

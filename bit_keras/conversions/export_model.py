"""A trained model, wherever it lies, to a file for other programs."""

import os
from collections.abc import Sequence
from pathlib import Path

from bit_keras.conversions.convert import check, convert, measure
from bit_keras.conversions.engines import load
from bit_keras.conversions.formats import FORMATS
from bit_keras.data.tasks import task as task_of_name
from bit_keras.nearest_name import nearest_name
from bit_keras.preprocessing import class_names
from bit_keras.saved_model.comparison import bound_of
from bit_keras.saved_model.directory import check_target
from bit_keras.saved_model.export import export_saved_model
from bit_keras.studies.model_source import SavedModel, ZooModel, find_model

SAVED_MODEL, INT8 = "saved_model", "_int8"
NAMES = (SAVED_MODEL, *(name for name in FORMATS if not name.endswith(INT8)))

_INPUT_RANGE = (0.0, 1.0)  # of Google's BiT modules


def export_model(
    model: str | os.PathLike,
    form: str,
    *,
    weights: str | None = None,
    output: str | os.PathLike | None = None,
    input_range: Sequence[float] | None = None,
    freeze: bool = False,
    int8: bool = False,
    overwrite: bool = False,
) -> None:
    """Writes a model in a format, and says where, how large it is and how it agrees.

    Args:
        model: the directory of a finished run, a .keras file, or a name from `list_models()`.
        form: of `NAMES`.
        weights: of a named model, as for `find_model`.
        output: the file, or the SavedModel's directory, to write; None is the model's name with
            the format's suffix, here.
        input_range: the values of black and white in the images that the file takes; None is
            (0, 1).
        freeze: of a SavedModel: for serving; the other formats always are, or never.
        int8: of LiteRT: weights in 8 bits.
        overwrite: whether an earlier file is replaced.

    Raises:
        ImportError: a library of the extra "convert" is missing.
        OSError: there is no such model, or the output is there or cannot be written.
        ValueError: an argument does not fit the format, the model cannot be written so, or the
            written file gives other numbers than the model. Nothing is left of it.
    """
    name = _checked_name(form, freeze, int8, input_range)
    source = find_model(model, weights)
    path = Path(output or f"{source.label}{_ending(name)}")
    input_range = _INPUT_RANGE if input_range is None else tuple(input_range)
    if name == SAVED_MODEL:
        check_target(path, overwrite)
    else:
        check(path, name, overwrite)
    network = source.load()
    if name == SAVED_MODEL:
        export_saved_model(
            network,
            path,
            input_range=input_range,
            freeze=freeze,
            overwrite=overwrite,
            class_names=_class_names(source, network.output_shape[-1]),
            image_size=source.crop,
        )
        agreement = measure(network, load(path), input_range, bound_of(network, freeze))
    else:
        agreement = convert(network, path, name, input_range, overwrite)
    print(f"{path}: {_megabytes(path, name)}; {agreement}")


def _checked_name(form: str, freeze: bool, int8: bool, input_range: Sequence[float] | None) -> str:
    """Returns the row of `FORMATS` that was asked for, or SAVED_MODEL."""
    if form not in NAMES:
        raise ValueError(
            f"format={form!r}: expected one of {', '.join(NAMES)}; the nearest is "
            f"{nearest_name(form, NAMES)!r}."
        )
    name = f"{form}{INT8}" if int8 else form
    if int8 and name not in FORMATS:
        raise ValueError(f"int8 is for litert, not for {form}: leave it out.")
    if form == SAVED_MODEL:
        return form
    if freeze:
        state = "is always frozen" if FORMATS[name].serves else "holds the weights to train on"
        raise ValueError(f"freeze is for saved_model; {form} {state}: leave it out.")
    if input_range is not None and not FORMATS[name].serves:
        raise ValueError(
            f"input_range={tuple(input_range)}: {form} holds the network itself, which takes "
            "images in [-1, 1]. Leave it out."
        )
    return name


def _ending(name: str) -> str:
    if name == SAVED_MODEL:
        return f".{name}"
    return f"{'-int8' if name.endswith(INT8) else ''}{FORMATS[name].suffix}"


def _class_names(source: SavedModel | ZooModel, classes: int) -> Sequence[str] | None:
    """Returns the names of a run's task or of upstream's classes, or None, and says why."""
    try:
        if source.task is not None:
            names = task_of_name(source.task).class_names
        elif isinstance(source, ZooModel) and source.classes is not None:
            names = class_names(source.classes)[1]
        else:
            return None
    except (ValueError, OSError, ImportError) as error:
        print(f"The classes have numbers for names, since theirs are not to be had: {error}")
        return None
    return names if len(names) == classes else None


def _megabytes(path: Path, name: str) -> str:
    beside = () if name == SAVED_MODEL else FORMATS[name].beside
    files = [path, *(path.with_suffix(suffix) for suffix in beside)]
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"

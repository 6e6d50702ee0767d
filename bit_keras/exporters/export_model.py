"""Exports a run's model, a .keras file or a named model to a file for other programs."""

import os
from collections.abc import Sequence
from pathlib import Path

import keras

from bit_keras.exporters.convert import check, convert
from bit_keras.exporters.formats import FORMATS, Format
from bit_keras.models.pixel_range import NETWORK_RANGE
from bit_keras.models.preprocessing import class_names
from bit_keras.models.task_record import class_names_of
from bit_keras.runs.known_classes import names_of_run
from bit_keras.runs.trained_model import SavedModel, ZooModel, find_model
from bit_keras.utils.nearest_name import unknown_name
from bit_keras.utils.printable import print_text

# The suffixes that the options `int8` and `freeze` add to a format's name.
_INT8, _FROZEN = "_int8", "_frozen"


NAMES = tuple(name for name in FORMATS if not name.endswith((_INT8, _FROZEN)))


# By default, an exported file takes pixels from 0 to 1, like Google's BiT modules.
_INPUT_RANGE = (0.0, 1.0)


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
    """Exports a model, and prints the output's path, its size and its agreement with the model.

    Args:
        model: the directory of a finished run, a .keras file, or a name from `list_models()`.
        form: the format, one of `NAMES`.
        weights: the weights of a named model, as for `find_model`.
        output: the file, or the SavedModel's directory, to write. If None, it is the model's name
            with the format's suffix, in the current directory.
        input_range: the values of black and white in the images that the file takes. If None,
            (0, 1).
        freeze: if True, write a SavedModel for serving only. Other formats do not take this option.
        int8: if True, store the weights in 8 bits; only for LiteRT.
        overwrite: if True, replace an existing output.

    Raises:
        ImportError: a library of the extra "convert" is missing.
        OSError: the model does not exist, or the output exists already or cannot be written.
        RuntimeError: the written file gives other numbers than the model. It is removed.
        ValueError: an argument does not fit the format, or the format cannot hold the model.
    """
    name = _checked_name(form, freeze, int8, input_range)
    source = find_model(model, weights)
    form = FORMATS[name]
    path = Path(output or f"{source.label}{'-int8' if int8 else ''}{form.suffix}").expanduser()
    check(path, name, overwrite)
    network = source.load()
    agreement = convert(
        network,
        path,
        name,
        input_range=_INPUT_RANGE if input_range is None else tuple(input_range),
        overwrite=overwrite,
        class_names=_class_names(source, network) if form.is_saved_model else None,
        image_size=source.crop,
        # The model of a run takes images in [-1, 1], because every run trains on such images, even
        # if the first layers of the model scale them.
        model_range=None if source.task is None else NETWORK_RANGE,
        background=source.background,
    )
    print_text(f"{path}: {_megabytes(path, form)}; {agreement}")


def _checked_name(form: str, freeze: bool, int8: bool, input_range: Sequence[float] | None) -> str:
    """Returns the full name of the requested format, such as "litert_int8".

    Raises:
        ValueError: the format is unknown, or an option does not fit the format.
    """
    if form not in NAMES:
        raise unknown_name("format", form, NAMES)
    if int8 and f"{form}{_INT8}" not in FORMATS:
        raise ValueError(f"int8 is for litert, not for {form}: leave int8 out.")
    if freeze and f"{form}{_FROZEN}" not in FORMATS:
        state = "is always frozen" if FORMATS[form].serves else "holds the weights to train on"
        raise ValueError(f"freeze is for saved_model; {form} {state}: leave freeze out.")
    if input_range is not None and not FORMATS[form].serves:
        raise ValueError(
            f"input_range={tuple(input_range)}: {form} holds the network itself, which takes "
            "images in [-1, 1]. Leave input_range out."
        )
    return f"{form}{_INT8 if int8 else ''}{_FROZEN if freeze else ''}"


def _class_names(source: SavedModel | ZooModel, network: keras.Model) -> Sequence[str] | None:
    """Returns the class names stored in the model or its run, or those of a published checkpoint.

    Returns:
        The names, or None if they are unknown or their number is not that of the classes. If the
        names cannot be loaded, the reason is printed.
    """
    names = class_names_of(network)
    try:
        if names is None and source.record is not None:
            names = names_of_run(source.record)
        elif names is None and isinstance(source, ZooModel) and source.classes is not None:
            names = class_names(source.classes)[1]
    except (ValueError, OSError, ImportError) as error:
        print_text(
            f"The classes have numbers for names, because their names cannot be loaded: {error}"
        )
    return names if names is not None and len(names) == network.output_shape[-1] else None


def _megabytes(path: Path, form: Format) -> str:
    files = [path, *form.companions(path)]
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"

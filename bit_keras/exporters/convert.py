"""Converts a model to a file of another format and compares the file with the model."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras

from bit_keras.exporters.agreement import Agreement, check_export
from bit_keras.exporters.child_process import ChildProcess, EndedError
from bit_keras.exporters.engines import library
from bit_keras.exporters.formats import FORMATS, Format, Source
from bit_keras.exporters.outputs import outputs_of
from bit_keras.exporters.saved_model import check_input, export_saved_model
from bit_keras.exporters.saved_model_directory import check_target
from bit_keras.models.pixel_range import NETWORK_RANGE
from bit_keras.utils.atomic_file import atomic_write, check_creatable, resolved
from bit_keras.utils.partial_files import partial_prefix
from bit_keras.utils.printable import first_line

# The size of a float32 weight in bytes.
_BYTES = 4


def convert(
    model: keras.Model,
    path: str | os.PathLike,
    name: str,
    input_range: tuple[float, float] = (0, 1),
    overwrite: bool = False,
    class_names: Sequence[str] | None = None,
    image_size: int | None = None,
    model_range: tuple[float, float] | None = None,
    background: str | None = None,
) -> Agreement:
    """Writes a model to a file of another format; leaves no incomplete file if the writing fails.

    LiteRT, ONNX and OpenVINO files take float32 RGB images `[batch, height, width, 3]` in
    `input_range`, at any size that the model takes; their kernels are already standardized. These
    files are converted from the SavedModel that `export_saved_model` writes with `freeze=True`, and
    checked, in a process of its own: an abort of a converter or an engine becomes an error.
    Keras and npz files hold the model itself, which takes images in its own range.

    Args:
        model: the model to write, as for `export_saved_model`.
        path: the file to write, with the suffix of its format; its directory must exist. For a
            SavedModel, any directory, as for `export_saved_model`.
        name: the name of the format, a key of `FORMATS`.
        input_range: the values of black and white in the images that the file takes.
        overwrite: if True, replace an existing file.
        class_names: the names of the classes for `serving_bytes` of a SavedModel.
        image_size: the side in pixels to which `serving_bytes` of a SavedModel resizes images.
        model_range: the values of black and white in the images that the model itself takes, as for
            `export_saved_model`.
        background: the colour that `serving_bytes` of a SavedModel puts behind transparent pixels,
            as for `export_saved_model`.

    Returns:
        The agreement of the file with the model, measured in the format's own engine.

    Raises:
        ImportError: a library of the extra "convert" is missing.
        OSError: a file or directory exists at `path`, or the file cannot be written.
        RuntimeError: the written file gives other numbers than the model, or the converter or the
            engine of the format aborted. No file is left.
        ValueError: the format cannot hold the model.
    """
    check(path, name, overwrite)
    form = FORMATS[name]
    if form.is_saved_model:
        return export_saved_model(
            model,
            path,
            input_range=input_range,
            freeze=name.endswith("_frozen"),
            overwrite=overwrite,
            class_names=class_names,
            image_size=image_size,
            model_range=model_range,
            background=background,
        )
    model_range = outputs_of(model, model_range if form.serves else NETWORK_RANGE).model_range
    check_input(model)
    _check_size(model, form)
    path = resolved(path)
    # The SavedModel that a file is converted from is made beside the file, because it may be too
    # large for the system's temporary directory.
    with (
        _atomic_file(path, form) as temporary,
        tempfile.TemporaryDirectory(".partial", partial_prefix(path), path.parent) as folder,
        contextlib.ExitStack() as stack,
    ):
        source = form.source(model, Path(folder), input_range=input_range, model_range=model_range)
        process = stack.enter_context(ChildProcess()) if form.libraries else None
        _write(form, source, temporary, model.name, process)
        return check_export(
            model,
            temporary,
            input_range if form.serves else NETWORK_RANGE,
            bound=form.bound,
            model_range=model_range,
            process=process,
        )


def check(path: str | os.PathLike, name: str, overwrite: bool) -> None:
    """Checks the output path and the needed libraries before a model is loaded and converted.

    Raises:
        ImportError: a library that the format needs is missing.
        OSError: the file exists and `overwrite` is False, or it cannot be placed at `path`.
        ValueError: the path does not have the suffix of the format.
    """
    form = FORMATS[name]
    if form.is_saved_model:
        return check_target(path, overwrite)
    path = resolved(path)
    if path.suffix != form.suffix:
        raise ValueError(f"{path}: a {form.title} file ends in {form.suffix}; choose another name.")
    for needed in form.libraries:
        library(needed)
    for file in (path, *form.companions(path)):
        if file.is_dir():
            raise IsADirectoryError(
                errno.EISDIR, "The path is a directory; choose another path", str(file)
            )
        if file.exists() and not overwrite:
            raise FileExistsError(
                errno.EEXIST, "The path exists; choose another path, or overwrite", str(file)
            )
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such directory", str(path.parent))
    check_creatable(path)
    return None


def _write(
    form: Format, source: Source, path: Path, name: str, process: ChildProcess | None
) -> None:
    try:
        if process is None:
            form.write(source, path)
        else:
            process.call(
                form.write, source, path, task=f"The conversion of {name!r} to {form.title}"
            )
    except (OSError, ImportError, EndedError):
        raise
    # All exceptions are caught, because each conversion library raises its own classes of errors.
    except Exception as error:
        raise ValueError(
            f"Model {name!r} cannot be written as {form.title}: {first_line(error)}"
        ) from error


def _check_size(model: keras.Model, form: Format) -> None:
    size = _BYTES * model.count_params()
    if form.largest is not None and size > form.largest:
        raise ValueError(
            f"Model {model.name!r} has {size / 2**30:.1f} GiB of weights, and a {form.title} file "
            f"holds at most {form.largest / 2**30:.1f} GiB. OpenVINO and SavedModel files have no "
            "such limit."
        )


@contextlib.contextmanager
def _atomic_file(path: Path, form: Format) -> Iterator[Path]:
    """Yields a temporary path; after the block, moves the file and its companions into place.

    The companion files are moved into place before the file at `path`, so that the file never
    appears without them. If there are companion files, the old file at `path` is removed first, so
    that no reader finds it together with the new companion files.
    """
    with atomic_write(path) as temporary:
        others = dict(zip(form.companions(temporary), form.companions(path), strict=True))
        try:
            yield temporary
            if others:
                path.unlink(missing_ok=True)
            for new, place in others.items():
                with open(new, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(new, place)
        finally:
            for new in others:
                new.unlink(missing_ok=True)

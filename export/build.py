"""Builds the files of one module (SavedModel, tar.gz and JSON), and compares them with its model.

    python -m export.build MODULE.json DIRECTORY

Each module is built in its own process. TensorFlow numbers the names in graphs through the whole
process, so only a new process gives the same bytes for the same model. The process ends when its
standard input is closed, so it does not outlive a publisher that was killed. If the module is
refused, the exit status is 2, and the reason is in DIRECTORY/error.txt.
"""

import json
import os
import sys
import tempfile
import threading
from pathlib import Path

import keras

import bit_keras
from export.error import PublishError
from export.modules import Module
from export.placing import ARCHIVE, ERROR, MODULE, RECORD
from export.site import digests, sha256
from export.tarball import pack, unpack

# The values of black and white in the images that Google's BiT modules take.
_RANGE = (0, 1)

# Batch size, height and width of the images on which the exported SavedModel is compared with the
# model.
_TEST_SHAPES = ((2, 97, 131),)


def build(module: Module, directory: Path) -> None:
    """Writes a module's SavedModel, tar.gz file and JSON description into an empty directory.

    Raises:
        PublishError: the archive, unpacked and loaded, gives other numbers than the model.
        RuntimeError: the SavedModel gives other numbers than the model.
        ValueError: the weights do not fit the model, or the model cannot be exported.
        OSError: weights or class names are not on this machine and cannot be downloaded.
    """
    names = _class_names(module)
    model = _load(module)
    bit_keras.export_saved_model(
        model,
        directory / MODULE,
        input_range=_RANGE,
        class_names=names,
        image_size=module.image_size,
        model_range=module.model_range,
        background=module.background,
    )
    pack(directory / MODULE, directory / ARCHIVE)
    files = digests(directory / MODULE)
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        unpack(directory / ARCHIVE, Path(folder))
        if digests(Path(folder)) != files:
            raise PublishError(
                f"{module.handle}: the files in the archive differ from the module's files."
            )
        try:
            bit_keras.check_export(
                model, folder, _RANGE, shapes=_TEST_SHAPES, model_range=module.model_range
            )
        except RuntimeError as error:
            raise PublishError(
                f"{module.handle}: the archive gives other numbers than the model. {error}"
            ) from error
    record = _record(module, directory, files)
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    (directory / RECORD).write_text(text, "utf-8")


def _class_names(module: Module) -> list[str] | tuple[str, ...] | None:
    if module.upstream_classes is None:
        return module.class_names
    return bit_keras.class_names(module.upstream_classes)[1]


def _load(module: Module) -> keras.Model:
    if module.model is None:
        return bit_keras.find_model(module.weights).load()
    return bit_keras.create(module.model, pretrained=module.weights, include_top=module.include_top)


def _record(module: Module, directory: Path, files: dict[str, str]) -> dict:
    file, checkpoint = Path(module.weights), None
    if module.sha256 is None:
        found = bit_keras.find_model(module.model, module.weights)
        file, checkpoint = found.file, found.checkpoint
    accuracy = None
    if checkpoint and module.include_top and checkpoint.accuracy is not None:
        accuracy = {"percent": checkpoint.accuracy, "reported_by": checkpoint.reported_by}
    description = (directory / MODULE / "assets" / "bit_keras.json").read_text("utf-8")
    archive = directory / ARCHIVE
    return {
        "handle": module.handle,
        "identity": module.identity(),
        "source": {
            "model": module.model,
            "file": module.source,
            "sha256": module.sha256 or sha256(file),
            "published": checkpoint is not None,
        },
        "licence": module.licence,
        "ilsvrc2012_top1": accuracy,
        "description": json.loads(description),
        "archive": {"bytes": archive.stat().st_size, "sha256": sha256(archive)},
        "files": files,
    }


def _end_with_the_publisher() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def main(module: str, directory: str) -> int:
    """Builds the module that a JSON file describes; returns the exit status."""
    threading.Thread(target=_end_with_the_publisher, daemon=True).start()
    values = json.loads(Path(module).read_text("utf-8"))
    # JSON has lists in the place of tuples.
    for name in ("class_names", "model_range"):
        if values[name] is not None:
            values[name] = tuple(values[name])
    try:
        build(Module(**values), Path(directory))
    except (PublishError, RuntimeError, ValueError, OSError, ImportError) as error:
        Path(directory, ERROR).write_text(str(error), "utf-8")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Makes one module: SavedModel, archive and record, each compared with the model.

    python -m export.build MODULE.json DIRECTORY

A process of its own for each module, because the names in a graph are numbered through a process:
only in a fresh one the same model gives the same bytes. It ends when its standard input does, so
that it does not outlive a publisher that was killed. Exit status 2: what is in DIRECTORY/error.txt
was refused.
"""

import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import bit_keras
from bit_keras.checkpoints.cache import cache_path
from bit_keras.checkpoints.catalog import CHECKPOINTS
from bit_keras.preprocessing import class_names
from bit_keras.studies.model_source import find_model
from export.error import PublishError
from export.modules import Module
from export.placing import ARCHIVE, ERROR, MODULE, RECORD
from export.site import digests, sha256
from export.tarball import pack, unpack

# As Google's modules take their images.
_RANGE = (0, 1)

# Largest difference over the largest value: what float32 rounds, and half precision in a graph
# that TensorFlow has optimized.
_BOUND, _HALF_BOUND = 1e-5, 5e-2

# Height and width of the images compared, where the model's are free.
_SIZE = (97, 131)


def build(module: Module, directory: Path) -> None:
    """Writes a module's parts into an empty directory.

    Raises:
        PublishError: the archive, unpacked and loaded, is not the model.
        RuntimeError: nor is the SavedModel.
        ValueError: the weights do not fit, or cannot be exported.
        OSError: weights or names are not on this machine and cannot be fetched.
    """
    names = _class_names(module)
    model = _load(module)
    bit_keras.export_saved_model(
        model,
        directory / MODULE,
        input_range=_RANGE,
        class_names=names,
        image_size=module.image_size,
    )
    pack(directory / MODULE, directory / ARCHIVE)
    files = digests(directory / MODULE)
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        unpack(directory / ARCHIVE, Path(folder))
        if digests(Path(folder)) != files:
            raise PublishError(f"{module.handle}: the archive has other files than the module.")
        _compare(module, model, folder)
    record = _record(module, directory, files)
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    (directory / RECORD).write_text(text, "utf-8")


def _class_names(module: Module) -> list[str] | tuple[str, ...] | None:
    if module.upstream_classes is None:
        return module.class_names
    return class_names(module.upstream_classes)[1]


def _load(module: Module) -> keras.Model:
    if module.model is None:
        return find_model(module.weights).load()
    return bit_keras.create(module.model, pretrained=module.weights, include_top=module.include_top)


def _compare(module: Module, model: keras.Model, directory: str) -> None:
    """Raises a PublishError unless a SavedModel gives the model's numbers, as a user loads it."""
    loaded = tf.saved_model.load(directory)
    fixed = model.input_shape[1:3]
    size = [side or free for side, free in zip(fixed, _SIZE, strict=True)]
    images = np.random.default_rng(0).uniform(*_RANGE, (2, *size, 3)).astype("float32")
    expected = _numpy(model(images * 2 - 1, training=False))
    (served,) = loaded.signatures["serving_default"](tf.constant(images)).values()
    half = any(layer.compute_dtype in ("float16", "bfloat16") for layer in _layers(model))
    bound = _HALF_BOUND if half else _BOUND
    for found in (loaded(images, training=False), served):
        difference, largest = np.abs(_numpy(found) - expected).max(), np.abs(expected).max()
        # Not as a quotient: the logits of a new head are all zero.
        if not difference <= bound * largest:
            raise PublishError(
                f"{module.handle}: the archive, loaded, differs from the model by {difference:.2g} "
                f"where the largest value is {largest:.2g}; expected at most {bound:.0e} of that."
            )


def _numpy(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _record(module: Module, directory: Path, files: dict[str, str]) -> dict:
    checkpoint = None if module.sha256 else CHECKPOINTS[module.model, module.weights]
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
            "sha256": module.sha256 or sha256(cache_path(module.source)),
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
    """Builds what a file of `Module`'s values describes; returns the exit status."""
    threading.Thread(target=_end_with_the_publisher, daemon=True).start()
    values = json.loads(Path(module).read_text("utf-8"))
    if values["class_names"] is not None:
        values["class_names"] = tuple(values["class_names"])
    try:
        build(Module(**values), Path(directory))
    except (PublishError, RuntimeError, ValueError, OSError, ImportError) as error:
        Path(directory, ERROR).write_text(str(error), "utf-8")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

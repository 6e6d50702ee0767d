"""Defines the file formats for exported models, and the functions that write each format."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from bit_keras.checkpoints.npz import save_npz
from bit_keras.exporters.agreement import FLOAT32_BOUND, has_half_precision
from bit_keras.exporters.engines import library
from bit_keras.exporters.normalization_in_rows import with_normalization_in_rows
from bit_keras.exporters.saved_model import FROZEN_BOUND, export_saved_model
from bit_keras.layers.tracing import for_other_programs

# A protocol buffer (ONNX) or flatbuffer (LiteRT) holds at most 2 GiB. 64 MiB of the file are
# reserved for everything other than the weights.
_LARGEST_FILE = 2**31 - 2**26


# The version of the ONNX operator set: the newest that tf2onnx 1.17 can write.
_ONNX_OPSET = 18


Source = keras.Model | Path


def _model_itself(model: keras.Model, folder: Path, **_) -> Source:
    return model


def _frozen_for_other_programs(
    model: keras.Model,
    folder: Path,
    prepare: Callable[[keras.Model], keras.Model] = lambda model: model,
    **arguments,
) -> Source:
    """Exports a frozen SavedModel that has only operations which the file converters support.

    Args:
        model: the model.
        folder: an existing directory for the SavedModel.
        prepare: a function that returns an equivalent model which the file's engine runs faster.
        **arguments: of `export_saved_model`.
    """
    # A model in half precision is refused, because other engines round half precision differently
    # from TensorFlow or lack operations for it.
    if has_half_precision(model):
        raise ValueError(
            f"Model {model.name!r} has layers that compute in half precision, but LiteRT, ONNX and "
            "OpenVINO files are made from a model in float32. Build the model with dtype='float32' "
            "and load the same weights."
        )
    prepared = prepare(model)
    with for_other_programs.on():
        export_saved_model(prepared, folder / "saved_model", freeze=True, **arguments)
    return folder / "saved_model"


@dataclass(frozen=True)
class Format:
    """A file format for models, the function that writes it, and its allowed rounding error.

    Attributes:
        title: the name of the format, for messages.
        suffix: the suffix of the file. A SavedModel is a directory, which may have any name.
        bound: the largest allowed difference from the model's output, over the largest value.
        write: a function of (source, path) that writes the file. None for a SavedModel, which
            `export_saved_model` writes.
        source: a function of (model, folder, **arguments of `export_saved_model`) that returns what
            the file is written from: the path of a SavedModel that it exported into the folder, or
            the model itself.
        serves: if True, the file takes images in the requested input range; if False, the file
            holds the network itself, for images in [-1, 1].
        libraries: the libraries of the extra "convert" that write and run the file.
        beside: the suffixes of companion files, which are written next to the file.
        largest: the largest size of the weights in bytes, or None if there is no limit.
    """

    title: str
    suffix: str
    bound: float
    write: Callable[[Source, Path], None] | None = None
    source: Callable[..., Source] = _frozen_for_other_programs
    serves: bool = True
    libraries: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    largest: int | None = None

    @property
    def is_saved_model(self) -> bool:
        """True for the directory of a SavedModel, which has the signature `serving_bytes`."""
        return self.write is None

    def companions(self, path: Path) -> list[Path]:
        """Returns the paths of the companion files of the file at `path`."""
        return [path.with_suffix(suffix) for suffix in self.beside]


def _write_litert(saved_model: Path, path: Path, int8: bool = False) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=["serving_default"]
    )
    if int8:
        # The converter gets no calibration examples: it quantizes weights to int8 at conversion,
        # and the engine quantizes activations at run time.
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path.write_bytes(converter.convert())


def _write_onnx(saved_model: Path, path: Path) -> None:
    import tensorflow as tf

    # The module is kept in a variable until the file is written, because the module owns the
    # weights that the signature uses.
    module = tf.saved_model.load(str(saved_model))
    signature = module.signatures["serving_default"]
    (images,) = signature.structured_input_signature[1].values()

    @tf.function(autograph=False)
    def network(images):
        # A signature that is called by keyword returns a dict, whose keys become the names of the
        # file's outputs.
        return signature(images=images)

    library("tf2onnx").convert.from_function(
        network, input_signature=[images], opset=_ONNX_OPSET, output_path=str(path)
    )


def _write_openvino(saved_model: Path, path: Path) -> None:
    openvino = library("openvino")
    openvino.save_model(openvino.convert_model(saved_model), path, compress_to_fp16=False)


# Each format has a largest allowed error. Other engines round float32 differently from TensorFlow:
# errors of 2e-6 were measured, and an error above 1e-3 means a wrong operation. With int8 weights,
# errors of 0.011 to 0.026 were measured on a network with random weights.
FORMATS = {
    "saved_model": Format("SavedModel", ".saved_model", FLOAT32_BOUND),
    "saved_model_frozen": Format("frozen SavedModel", ".saved_model", FROZEN_BOUND),
    "litert": Format(
        "LiteRT",
        ".tflite",
        1e-3,
        _write_litert,
        libraries=("ai_edge_litert.interpreter",),
        largest=_LARGEST_FILE,
    ),
    "litert_int8": Format(
        "LiteRT with int8 weights",
        ".tflite",
        0.1,
        functools.partial(_write_litert, int8=True),
        libraries=("ai_edge_litert.interpreter",),
        largest=_LARGEST_FILE,
    ),
    "onnx": Format(
        "ONNX",
        ".onnx",
        1e-3,
        _write_onnx,
        libraries=("tf2onnx", "onnxruntime"),
        largest=_LARGEST_FILE,
    ),
    "openvino": Format(
        "OpenVINO",
        ".xml",
        1e-3,
        _write_openvino,
        libraries=("openvino",),
        source=functools.partial(_frozen_for_other_programs, prepare=with_normalization_in_rows),
        beside=(".bin",),
    ),
    "keras": Format(
        "Keras", ".keras", FLOAT32_BOUND, keras.Model.save, source=_model_itself, serves=False
    ),
    "npz": Format("npz", ".npz", FLOAT32_BOUND, save_npz, source=_model_itself, serves=False),
}

"""The formats that a model can be written in, and the libraries that write them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from bit_keras.checkpoints.npz import save_npz
from bit_keras.conversions.libraries import library
from bit_keras.conversions.normalization_in_rows import with_normalization_in_rows

# A protocol buffer (ONNX) or flatbuffer (LiteRT) ends at 2 GiB; 64 MiB are left for all but the
# weights.
_LARGEST_FILE = 2**31 - 2**26

# The newest set of ONNX operations that tf2onnx 1.17 writes.
_ONNX_OPSET = 18


@dataclass(frozen=True)
class Format:
    """How a model is written in one file, or in one and others beside it.

    Attributes:
        title: its name.
        suffix: of the file.
        write: (source, path) -> None. The source is the model, or where `serves` its frozen
            SavedModel.
        bound: of the largest difference from the source's output, over its largest value.
        serves: whether images are in the input range that was asked for, and kernels are
            standardized; else the network itself is in the file, for images in [-1, 1].
        libraries: of the extra "convert": what writes it and what runs it.
        prepare: model -> the same in a form that its engine is quicker with.
        beside: suffixes of the files that belong to the file.
        largest: bytes of weights that it can hold; None where there is no bound.
    """

    title: str
    suffix: str
    write: Callable[[keras.Model | Path, Path], None]
    bound: float
    serves: bool = True
    libraries: tuple[str, ...] = ()
    prepare: Callable[[keras.Model], keras.Model] = lambda model: model
    beside: tuple[str, ...] = ()
    largest: int | None = None


def _write_litert(saved_model: Path, path: Path) -> None:
    path.write_bytes(_litert_converter(saved_model).convert())


def _write_litert_int8(saved_model: Path, path: Path) -> None:
    import tensorflow as tf

    converter = _litert_converter(saved_model)
    # Without examples to calibrate it: weights are int8, activations at run time.
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path.write_bytes(converter.convert())


def _litert_converter(saved_model: Path):
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=["serving_default"]
    )


def _write_onnx(saved_model: Path, path: Path) -> None:
    import tensorflow as tf

    module = tf.saved_model.load(str(saved_model))  # held: a signature does not keep its variables
    signature = module.signatures["serving_default"]
    (images,) = signature.structured_input_signature[1].values()

    @tf.function(autograph=False)
    def network(images):
        return signature(images=images)  # by name: so the output has one in the file

    library("tf2onnx").convert.from_function(
        network, input_signature=[images], opset=_ONNX_OPSET, output_path=str(path)
    )


def _write_openvino(saved_model: Path, path: Path) -> None:
    openvino = library("openvino")
    openvino.save_model(openvino.convert_model(saved_model), path, compress_to_fp16=False)


def _write_keras(model: keras.Model, path: Path) -> None:
    model.save(path)


def _write_npz(model: keras.Model, path: Path) -> None:
    save_npz(model, path)


# Bounds: of float32, what other kernels may round elsewhere: 2e-6 were measured, and 1e-3 would be
# a wrong one. int8: 0.011 to 0.026 were measured on a network with random weights.
FORMATS = {
    "litert": Format(
        "LiteRT",
        ".tflite",
        _write_litert,
        1e-3,
        libraries=("ai_edge_litert.interpreter",),
        largest=_LARGEST_FILE,
    ),
    "litert_int8": Format(
        "LiteRT with int8 weights",
        ".tflite",
        _write_litert_int8,
        0.1,
        libraries=("ai_edge_litert.interpreter",),
        largest=_LARGEST_FILE,
    ),
    "onnx": Format(
        "ONNX",
        ".onnx",
        _write_onnx,
        1e-3,
        libraries=("tf2onnx", "onnxruntime"),
        largest=_LARGEST_FILE,
    ),
    "openvino": Format(
        "OpenVINO",
        ".xml",
        _write_openvino,
        1e-3,
        libraries=("openvino",),
        prepare=with_normalization_in_rows,
        beside=(".bin",),
    ),
    "keras": Format("Keras", ".keras", _write_keras, 1e-5, serves=False),
    "npz": Format("npz", ".npz", _write_npz, 1e-5, serves=False),
}

"""A model's file, whatever its format, to a function of images."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bit_keras import zoo
from bit_keras.checkpoints.npz import load_npz, read_contents
from bit_keras.conversions.libraries import library
from bit_keras.resnet import ROOT_FILTERS, ResNetV2
from bit_keras.studies.model_source import find_model

Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Engine:
    """A program that runs a kind of file.

    Attributes:
        title: its name.
        load: path -> (float32 images `[batch, height, width, 3]` -> the model's output).
        explains: whether what it raises says already what is wrong with which file.
    """

    title: str
    load: Callable[[Path], Run]
    explains: bool = False


def threads() -> int:
    """Returns how many cores this process may use; each engine is given as many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def engine_of(path: str | os.PathLike) -> Engine:
    """Returns what runs a file; nothing is loaded.

    Args:
        path: a SavedModel's directory, a .tflite, .onnx, OpenVINO .xml, .npz or .keras file, the
            directory of a run, or a name of the zoo.

    Raises:
        OSError: there is no such file.
        ValueError: it is no model.
    """
    if str(path) in zoo.VARIANTS:
        return _KERAS
    path = Path(path).expanduser()
    if (path / "saved_model.pb").is_file():
        return _SAVED_MODEL
    if path.suffix in _OF_SUFFIX and path.is_file():
        return _OF_SUFFIX[path.suffix]
    find_model(path)  # which says what it should have been
    return _KERAS


def load(path: str | os.PathLike) -> Run:
    """Returns a function of images that a file's own engine computes, in float32.

    Raises:
        ImportError: the engine is not installed.
        OSError: there is no such file.
        ValueError: the engine cannot read it.
    """
    engine = engine_of(path)
    try:
        return engine.load(Path(path).expanduser())
    except (ImportError, OSError):
        raise
    except Exception as error:  # each engine has errors of its own
        if engine.explains:
            raise
        raise ValueError(f"{engine.title} cannot load {path}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _load_saved_model(path: Path) -> Run:
    import tensorflow as tf

    module = tf.saved_model.load(str(path))
    if "serving_default" not in module.signatures:
        raise ValueError("it has no signature serving_default")
    function = module.signatures["serving_default"]
    (name,) = function.structured_input_signature[1]
    (output,) = function.structured_outputs

    def run(images: np.ndarray) -> np.ndarray:
        # By way of the module, for a signature does not keep its variables alive.
        return module.signatures["serving_default"](**{name: tf.constant(images)})[output].numpy()

    return run


def _load_litert(path: Path) -> Run:
    interpreter = library("ai_edge_litert.interpreter").Interpreter(
        model_path=str(path), num_threads=threads()
    )
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    shape = None

    def run(images: np.ndarray) -> np.ndarray:
        nonlocal shape
        if images.shape != shape:
            interpreter.resize_tensor_input(given["index"], images.shape)
            interpreter.allocate_tensors()
            shape = images.shape
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return run


def _load_onnx(path: Path) -> Run:
    onnxruntime = library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda images: session.run(None, {given.name: images})[0]


def _load_openvino(path: Path) -> Run:
    # On processors that have bfloat16 it would compute in that.
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads()}
    compiled = library("openvino").Core().compile_model(str(path), "CPU", options)
    return lambda images: compiled(images)[0]


def _load_npz(path: Path) -> Run:
    """The network is what the file tells: without a head, it gives features."""
    contents = read_contents(path)
    model = ResNetV2(
        depths=contents.depths,
        width=contents.root_filters / ROOT_FILTERS,
        include_top=contents.classes is not None,
        classes=contents.classes,
    )
    load_npz(model, path)
    return model.predict_on_batch


def _load_keras(path: Path) -> Run:
    return find_model(path).load().predict_on_batch


_SAVED_MODEL = Engine("TensorFlow", _load_saved_model)
_KERAS = Engine("Keras", _load_keras, explains=True)
_OF_SUFFIX = {
    ".tflite": Engine("LiteRT", _load_litert),
    ".onnx": Engine("ONNX Runtime", _load_onnx),
    ".xml": Engine("OpenVINO", _load_openvino),
    ".npz": Engine("Keras", _load_npz, explains=True),
}

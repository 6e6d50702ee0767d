"""Loads model files of any supported format as functions that map images to outputs."""

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from bit_keras.checkpoints.npz import load_npz, read_contents
from bit_keras.exporters.child_process import ChildProcess
from bit_keras.models import variants
from bit_keras.models.resnet import ROOT_FILTERS, ResNetV2
from bit_keras.runs.trained_model import find_model
from bit_keras.utils.printable import first_line

Run = Callable[[np.ndarray], np.ndarray]

# The key under which `load_functions` returns the function that computes a model's output.
OUTPUT = "output"


@dataclass(frozen=True)
class Engine:
    """A program, such as ONNX Runtime, that runs model files of one format.

    Attributes:
        title: the name of the engine.
        runs: a function of a path that returns True if the engine runs what is there.
        load: a function of the file's path, which returns the file's functions by name. Each takes
            float32 images `[batch, height, width, 3]`; that of `OUTPUT` gives the model's output.
        explains: True if the errors that `load` raises already name the file and the problem.
    """

    title: str
    runs: Callable[[Path], bool]
    load: Callable[[Path], dict[str, Run]]
    explains: bool = False


def threads() -> int:
    """Returns the number of cores that this process may use: the thread count of each engine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def engine_of(path: str | os.PathLike) -> Engine:
    """Returns the engine that runs a model file, without loading the file.

    Args:
        path: a SavedModel's directory, a .tflite, .onnx, OpenVINO .xml, .npz or .keras file, the
            directory of a run, or a name of the zoo.

    Raises:
        OSError: the file does not exist.
        ValueError: the file is not a model.
    """
    if str(path) in variants.NETWORKS:
        return _KERAS
    path = Path(path).expanduser()
    return next(engine for engine in (*_ENGINES, _KERAS) if engine.runs(path))


def load(path: str | os.PathLike) -> Run:
    """Loads a model file in its engine, and returns the model as a function of float32 images.

    Raises:
        As `load_functions`.
    """
    return load_functions(path)[OUTPUT]


def load_functions(path: str | os.PathLike) -> dict[str, Run]:
    """Loads a model file; returns a dict from names, such as "output", to functions of images.

    The function `OUTPUT` gives the model's output. A SavedModel of bit_keras also has "module", its
    callable root, and "features".

    Raises:
        ImportError: the engine is not installed.
        OSError: the file does not exist.
        ValueError: the engine cannot read the file.
    """
    engine = engine_of(path)
    try:
        return engine.load(Path(path).expanduser())
    except (ImportError, OSError):
        raise
    # All exceptions are caught, because each engine raises its own classes of errors.
    except Exception as error:
        if engine.explains:
            raise
        raise ValueError(f"{engine.title} cannot load {path}: {first_line(error)}") from error


def functions_in(process: ChildProcess, path: str | os.PathLike) -> dict[str, Run]:
    """Loads a model file in another process; returns functions like those of `load_functions`.

    Raises:
        As `load_functions`; also RuntimeError: the engine aborted.
    """
    task = f"Running the file in {engine_of(path).title}"

    def run(name: str) -> Run:
        return lambda images: process.call(_run_loaded, name, images, task=task)

    return {name: run(name) for name in process.call(_load_here, os.fspath(path), task=task)}


# The functions of the file that another process has loaded into this process.
_loaded: dict[str, Run] = {}


def _load_here(path: str) -> list[str]:
    _loaded.clear()
    _loaded.update(load_functions(path))
    return list(_loaded)


def _run_loaded(name: str, images: np.ndarray) -> np.ndarray:
    return np.asarray(_loaded[name](images))


def library(name: str) -> ModuleType:
    """Imports an optional library and returns its module.

    Raises:
        ImportError: the library is not installed, or its import fails.
    """
    if name == "openvino":
        # OpenVINO sends usage data to its developers if it can import openvino_telemetry. The None
        # in sys.modules makes that import fail.
        sys.modules.setdefault("openvino_telemetry", None)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{name} cannot be imported ({error}). Install what this format needs: "
            'pip install "bit_keras[convert]"'
        ) from None


def _load_saved_model(path: Path) -> dict[str, Run]:
    import tensorflow as tf

    module = tf.saved_model.load(str(path))
    if "serving_default" not in module.signatures:
        raise ValueError("the SavedModel has no signature serving_default")

    def signature(key: str) -> Run:
        (name,) = module.signatures[key].structured_input_signature[1]
        (output,) = module.signatures[key].structured_outputs
        # The signature is read from the module at each call, because the signature alone does not
        # keep the module's variables alive.
        return lambda images: module.signatures[key](**{name: tf.constant(images)})[output].numpy()

    functions = {OUTPUT: signature("serving_default")}
    if "features" in module.signatures:
        functions["features"] = signature("features")
        functions["module"] = lambda images: module(tf.constant(images)).numpy()
    return functions


def _load_litert(path: Path) -> dict[str, Run]:
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

    return {OUTPUT: run}


def _load_onnx(path: Path) -> dict[str, Run]:
    onnxruntime = library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return {OUTPUT: lambda images: session.run(None, {given.name: images})[0]}


def _load_openvino(path: Path) -> dict[str, Run]:
    # Without the precision hint, OpenVINO computes in bfloat16 on processors that support it.
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads()}
    compiled = library("openvino").Core().compile_model(str(path), "CPU", options)
    return {OUTPUT: lambda images: compiled(images)[0]}


def _load_npz(path: Path) -> dict[str, Run]:
    """Builds a network from an npz file; the network returns features if the file has no head."""
    contents = read_contents(path)
    model = ResNetV2(
        depths=contents.depths,
        width=contents.root_filters / ROOT_FILTERS,
        include_top=contents.classes is not None,
        classes=contents.classes,
    )
    load_npz(model, path)
    return {OUTPUT: model.predict_on_batch}


def _load_keras(path: Path) -> dict[str, Run]:
    return {OUTPUT: find_model(path).load().predict_on_batch}


def _is_saved_model(path: Path) -> bool:
    return (path / "saved_model.pb").is_file()


def _is_trained_model(path: Path) -> bool:
    # find_model raises an error if there is no model with this path or name.
    return find_model(path) is not None


def _is_file(suffix: str) -> Callable[[Path], bool]:
    return lambda path: path.suffix == suffix and path.is_file()


_ENGINES = (
    Engine("TensorFlow", _is_saved_model, _load_saved_model),
    Engine("LiteRT", _is_file(".tflite"), _load_litert),
    Engine("ONNX Runtime", _is_file(".onnx"), _load_onnx),
    Engine("OpenVINO", _is_file(".xml"), _load_openvino),
    Engine("Keras", _is_file(".npz"), _load_npz, explains=True),
)

# The engine that runs a model given by its name, a .keras file or the directory of a run.
_KERAS = Engine("Keras", _is_trained_model, _load_keras, explains=True)

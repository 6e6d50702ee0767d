"""The teachers of distillation: networks of any make, as functions of the student's images."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from bit_keras.evaluation.predictions import are_probabilities, check_input
from bit_keras.exporters.engines import library, threads
from bit_keras.exporters.outputs import outputs_of
from bit_keras.models.pixel_range import NETWORK_RANGE
from bit_keras.models.task_record import class_names_of
from bit_keras.training.preparation import state_digest
from bit_keras.utils.integers import check_integer
from bit_keras.utils.printable import first_line

LOGITS, FEATURES, BOTH = "logits", "features", "both"

# Maps the value of `teacher_output` to the outputs that the student learns.
OUTPUTS = {LOGITS: (LOGITS,), FEATURES: (FEATURES,), BOTH: (LOGITS, FEATURES)}

# A function from a batch of the student's images to the teacher's outputs, [batch, width] each.
Teach = Callable[[tf.Tensor], dict[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class TeacherView:
    """What a teacher sees of the student's images, and which of its outputs are learned.

    Attributes:
        output: "logits"; "features", the input of the teacher's head; or "both".
        size: side in pixels to which the student's images are resized for the teacher; None keeps
            their size.
        mean, std: the teacher takes `(pixel - mean) / std` for pixels from 0 to 255: one number or
            one for each of red, green and blue. None, for a Keras model only, means what the model
            itself says: images from -1 to 1, unless its first layers scale other values.

    Raises:
        ValueError: a value is out of range.
    """

    output: str = LOGITS
    size: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise ValueError(
                f"teacher_output={self.output!r}; expected 'logits', 'features' or 'both'."
            )
        if self.size is not None:
            check_integer("teacher_size", self.size)
        if (self.mean is None) != (self.std is None):
            raise ValueError(
                f"teacher_mean={self.mean} and teacher_std={self.std}: expected both or neither."
            )
        for name, given in (("mean", self.mean), ("std", self.std)):
            if given is None:
                continue
            values = tuple(float(value) for value in np.atleast_1d(given))
            if len(values) not in (1, 3) or (name == "std" and min(values) <= 0):
                raise ValueError(
                    f"teacher_{name}={given}; expected one number, or one for each of red, green "
                    f"and blue{', above 0' if name == 'std' else ''}, for pixels from 0 to 255."
                )
            object.__setattr__(self, name, values)

    def of(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the teacher's images for those of the student, float32 RGB in [-1, 1]."""
        if self.size is not None:
            images = tf.image.resize(images, [self.size, self.size])
        if self.mean is None:
            return images
        return ((images + 1) * 127.5 - tf.constant(self.mean)) / tf.constant(self.std)

    def plain(self) -> dict:
        """Returns the values that differ from the default ones, as a run's configuration."""
        return {
            f"teacher_{field.name}": value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
    """A network whose outputs a student learns.

    Attributes:
        name: the name of the network or of its file.
        sha256: digest of the weights or of the file.
        teach: from the student's images to the outputs that are learned, by their names.
        widths: the number of values of each output for one image.
        in_pipeline: if True, `teach` runs on the CPU while batches are prepared; otherwise in the
            training step, on the devices that train.
        class_names: the names of the classes, or None if they are not known.
        model: the Keras model that gives the outputs for the student's own images; None for a file,
            and for a model that sees other images.
    """

    name: str
    sha256: str
    teach: Teach
    widths: dict[str, int]
    in_pipeline: bool
    class_names: tuple[str, ...] | None = None
    model: keras.Model | None = None


def teacher_of_model(model: keras.Model, view: TeacherView, crop: int) -> Teacher:
    """Returns a Keras model as a teacher.

    Args:
        model: a classifier that gives logits.
        view: what it sees, and which outputs are learned.
        crop: side in pixels of the student's images.

    Raises:
        ValueError: the model does not take these images, or gives probabilities; or the features
            were asked for, and the model is no functional model.
    """
    if view.mean is None:
        check_input(model, view.size or crop, "distillation needs")
    if view.output == LOGITS:
        outputs = lambda images: {LOGITS: model(images, training=False)}  # noqa: E731
    else:
        # The images already have the values that the model takes.
        described = outputs_of(model, NETWORK_RANGE)
        outputs = lambda images: dict(  # noqa: E731
            zip((LOGITS, FEATURES), described.run(images, training=False), strict=True)
        )
    teach = _teach(outputs, view)
    return Teacher(
        model.name,
        state_digest(model),
        teach,
        _widths(teach, crop),
        in_pipeline=False,
        class_names=class_names_of(model),
        model=model if view.mean is None and view.size is None else None,
    )


def teacher_of_file(path: str | os.PathLike, view: TeacherView, crop: int) -> Teacher:
    """Returns an ONNX file, or an exported SavedModel, as a teacher.

    An ONNX file takes images `[batch, 3, height, width]` or `[batch, height, width, 3]`. If it has
    several outputs, their names contain "logits" and "features". The signatures "serving_default"
    and "features" of a SavedModel give its logits and features, as in an export of bit_keras.

    Args:
        path: the file or the directory.
        view: what the teacher sees, with its mean and std, and which outputs are learned.
        crop: side in pixels of the student's images.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: the mean and std are missing, or the file cannot be used.
    """
    path = Path(path).expanduser()
    check_file(path, view)
    load = _onnx if path.suffix == ".onnx" else _saved_model
    try:
        teach = _teach(load(path, OUTPUTS[view.output]), view)
    except ImportError:
        raise
    except Exception as error:  # Each engine has errors of its own classes.
        raise ValueError(f"The teacher {path} cannot be used: {first_line(error)}") from error
    try:
        widths = _widths(teach, crop)
    except Exception as error:
        raise ValueError(
            f"The teacher {path} cannot be used on images of {view.size or crop} pixels: "
            f"{first_line(error)}"
        ) from error

    def with_shapes(images: tf.Tensor) -> dict[str, tf.Tensor]:
        # TensorFlow does not know the shapes of what other engines return.
        return {
            name: tf.ensure_shape(output, [None, widths[name]])
            for name, output in teach(images).items()
        }

    return Teacher(path.name, _digest(path), with_shapes, widths, in_pipeline=True)


def check_file(path: str | os.PathLike, view: TeacherView) -> None:
    """Checks whether a file can be a teacher, as far as this is known before it is loaded.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: onnxruntime is not installed.
        ValueError: the mean and std are missing.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no teacher {path}. Check the path.")
    if path.suffix == ".onnx":
        library("onnxruntime")
    if view.mean is None:
        raise ValueError(
            f"The file {path} does not say which values of pixels it takes. Give teacher_mean and "
            "teacher_std (--teacher_mean, --teacher_std) for (pixel - mean) / std with pixels from "
            "0 to 255: 0 and 255 for images from 0 to 1, 127.5 and 127.5 for images from -1 to 1."
        )


def _teach(outputs: Teach, view: TeacherView) -> Teach:
    def teach(images: tf.Tensor) -> dict[str, tf.Tensor]:
        found = outputs(view.of(images))
        return {name: tf.cast(found[name], tf.float32) for name in OUTPUTS[view.output]}

    return teach


def _widths(teach: Teach, crop: int) -> dict[str, int]:
    """Returns the width of each output of a teacher, found with two random images.

    Raises:
        ValueError: an output is not one vector an image, or the logits are probabilities.
    """
    images = np.random.default_rng(0).uniform(-1, 1, (2, crop, crop, 3)).astype("float32")
    found = teach(tf.constant(images))
    for name, output in found.items():
        if len(output.shape) != 2 or output.shape[0] != 2:
            raise ValueError(
                f"its {name} have the shape {tuple(output.shape)} for two images; expected "
                "(2, number of values)"
            )
    if LOGITS in found and are_probabilities(found[LOGITS].numpy()):
        raise ValueError(
            "its outputs on random images are at least 0, and their sum is 1, as of probabilities; "
            "expected logits. Leave out the softmax at the end of the teacher"
        )
    return {name: output.shape[-1] for name, output in found.items()}


def _onnx(path: Path, names: Sequence[str]) -> Teach:
    onnxruntime = library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    # Threads that spin while they wait take the time of the training step.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    if (
        len(inputs) != 1
        or len(inputs[0].shape) != 4
        or 3 not in (inputs[0].shape[i] for i in (1, 3))
    ):
        shapes = ", ".join(f"{each.name} {each.shape}" for each in inputs)
        raise ValueError(f"its inputs are {shapes}; expected one of colour images")
    (given,) = inputs
    channels_first = given.shape[1] == 3
    of_file = [output.name for output in session.get_outputs()]
    if len(names) > len(of_file):
        raise ValueError(
            f"its only output is {of_file[0]}, which cannot be the logits and the features; "
            "choose 'logits' or 'features' as teacher_output"
        )
    wanted = [_name_of_output(name, of_file) for name in names]

    def run(images: np.ndarray) -> list[np.ndarray]:
        if channels_first:
            images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        found = session.run(wanted, {given.name: images})
        return [np.asarray(output, np.float32) for output in found]

    def outputs(images: tf.Tensor) -> dict[str, tf.Tensor]:
        found = tf.numpy_function(run, [images], [tf.float32] * len(wanted))
        # Outside of a graph, TensorFlow returns the only element of a list without the list.
        return dict(zip(names, tf.nest.flatten(found), strict=True))

    return outputs


def _name_of_output(name: str, of_file: Sequence[str]) -> str:
    """Returns the file's name of an output; a single output is taken for what is asked."""
    fitting = [other for other in of_file if name.rstrip("s") in other.lower()]
    if len(of_file) == 1:
        fitting = list(of_file)
    if len(fitting) != 1:
        raise ValueError(
            f"its outputs are {', '.join(of_file)}; expected one output, or one whose name has "
            f"{name.rstrip('s')!r} in it"
        )
    return fitting[0]


def _saved_model(path: Path, names: Sequence[str]) -> Teach:
    module = tf.saved_model.load(os.fspath(path))
    keys = {LOGITS: "serving_default", FEATURES: "features"}
    missing = [keys[name] for name in names if keys[name] not in module.signatures]
    if missing:
        raise ValueError(f"it has no signature {missing[0]!r}")

    def output(name: str, images: tf.Tensor) -> tf.Tensor:
        # The signature is read from the module at each call, because the signature alone does not
        # keep the module's variables alive.
        signature = module.signatures[keys[name]]
        arguments, results = signature.structured_input_signature[1], signature.structured_outputs
        if len(arguments) != 1 or len(results) != 1:
            raise ValueError(
                f"its signature {keys[name]!r} takes {sorted(arguments)} and gives "
                f"{sorted(results)}; expected one input and one output"
            )
        (argument,) = arguments
        (result,) = signature(**{argument: images}).values()
        return result

    return lambda images: {name: output(name, images) for name in names}


def _digest(path: Path) -> str:
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(path)}\n".encode(errors="surrogateescape"))
        with open(file, "rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()

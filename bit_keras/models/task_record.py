"""The record that a model keeps of the task it was trained on, such as its class names."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bit_keras.utils.integers import check_integer

if TYPE_CHECKING:
    import keras

# The key under which a model's configuration, and so a .keras file, stores the record of the
# model's task.
_CONFIG_KEY = "trained_on"

# The attribute of a symbolic tensor that holds a weak reference to the model whose output it is.
_OWNER = "bit_keras_owner"


@dataclasses.dataclass(frozen=True)
class TaskRecord:
    """The record of the task that a model was trained on, made of values that JSON can store.

    Attributes:
        class_names: the names of the model's classes, in the order of its logits; None if they are
            not known, as in the runs of earlier versions.
        name: the name of the task for `bit_keras.task`; None if it is not known.
        options: the options with which `bit_keras.task` made the task.
        several_labels: True if an image could have several labels.
        source: a text that differs for other data under the same name.
        location: the real path of the folder of the images; empty for other tasks.
        names_sha256: `digest_of_names` of the class names, where these are not known.
        crop: side in pixels of the test images of the training; None if it is not known.
        background: the colour behind the transparent pixels of the images, a name or a code such as
            "#ff8000"; None means that of `options`, or else white.
    """

    class_names: tuple[str, ...] | None
    name: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    several_labels: bool = False
    source: str = ""
    location: str = ""
    names_sha256: str | None = None
    crop: int | None = None
    background: str | None = None

    @property
    def transparent_colour(self) -> str:
        """The colour behind transparent pixels: a name or a code; white if none is recorded."""
        return self.background or self.options.get("background") or "white"

    def plain(self) -> dict[str, Any]:
        """Returns the record of a task as a dictionary that JSON can store."""
        return {**dataclasses.asdict(self), "class_names": list(self.class_names or ())}

    @classmethod
    def of_plain(cls, content: Any) -> TaskRecord:
        """Makes a record from the dictionary that `plain` returned; unknown keys are ignored.

        Raises:
            ValueError: the content is something else.
        """
        if not isinstance(content, dict):
            raise ValueError(f"The record of a task must be a JSON object, got {content!r:.50}.")
        known = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in content.items() if name in known}
        names = values.get("class_names")
        values["class_names"] = checked_names(names if isinstance(names, list) else ()) or None
        for key in ("name", "source", "location", "names_sha256", "background"):
            if not isinstance(values.get(key), str | None):
                raise ValueError(f"The {key} of a task must be a string, got {values[key]!r:.50}.")
        if not isinstance(values.get("options", {}), dict):
            raise ValueError("The options of a task must be a JSON object.")
        if values.get("crop") is not None:
            check_integer("crop", values["crop"])
        return cls(**values)


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Returns class names as a tuple; raises a ValueError unless they are strings."""
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"class_names={names!r:.100}: expected a list of strings, one for each class."
        )
    return tuple(names)


def digest_of_names(class_names: Sequence[str]) -> str:
    """Returns a SHA-256 digest of class names, which also depends on the order of the names."""
    return hashlib.sha256(json.dumps(class_names).encode()).hexdigest()


def record_of(model: keras.Model) -> TaskRecord | None:
    """Returns the record of the task that a model was trained on, or None without class names.

    Raises:
        ValueError: the model's `class_names` are not one name for each output.
    """
    if "class_names" not in vars(model) and getattr(model, "class_names", None) is None:
        return _record_of_output(model)
    record, names = getattr(model, "task_record", None), getattr(model, "class_names", None)
    if names is None:
        return None
    names, shape = checked_names(names), getattr(model, "output_shape", None)
    if isinstance(shape, tuple) and shape[-1] != len(names):
        raise ValueError(
            f"Model {model.name!r} has {len(names)} class_names, but its output has the shape "
            f"{shape}. Expected one name for each class; set model.class_names."
        )
    return dataclasses.replace(record or TaskRecord(names), class_names=names)


def inherit(model: keras.Model) -> None:
    """Takes over the record of the model whose very output is the output of a new functional model.

    The new model becomes known as the one that its output tensor comes from, if none is known.
    """
    record = _record_of_output(model)
    if record is not None:
        remember(model, record)
    _mark_output(model)


def _mark_output(model: keras.Model) -> None:
    outputs = getattr(model, "outputs", None) or ()
    if len(outputs) == 1 and _owner(outputs[0]) is None:
        setattr(outputs[0], _OWNER, weakref.ref(model))


def _owner(tensor: keras.KerasTensor) -> keras.Model | None:
    """Returns the first functional model that was made with this symbolic tensor as its output."""
    reference = getattr(tensor, _OWNER, None)
    return None if reference is None else reference()


def _record_of_output(model: keras.Model) -> TaskRecord | None:
    """Returns the record of another model whose output is the output of this functional model."""
    outputs = getattr(model, "outputs", None) or ()
    if len(outputs) != 1:
        return None
    # The module is imported here, because it imports Keras, which a record of a task does not need.
    from bit_keras.utils.keras_internals import operation_of

    operation = operation_of(outputs[0])
    source = _owner(outputs[0])
    if source is None or source is model:
        # An operation with outputs is a functional model that is nested in this one at its end.
        source = operation if len(getattr(operation, "outputs", None) or ()) == 1 else None
    return None if source is None else record_of(source)


def class_names_of(model: keras.Model) -> tuple[str, ...] | None:
    """Returns the names of a model's classes, or None if they are not known.

    Raises:
        ValueError: the model's `class_names` are not one name for each output.
    """
    record = record_of(model)
    return None if record is None else record.class_names


def config_of(model: keras.Model) -> dict[str, Any]:
    """Returns a model's task record as an entry for `get_config`; {} if there is no record."""
    record = record_of(model)
    return {} if record is None else {_CONFIG_KEY: record.plain()}


def taken_from(config: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Returns a model's configuration without the task record, and the record as data or None."""
    config = dict(config)
    return config, config.pop(_CONFIG_KEY, None)


def with_record(model: keras.Model, content: Any) -> keras.Model:
    """Stores the task record `content` in the model unless it is None; returns the model."""
    if content is not None:
        remember(model, TaskRecord.of_plain(content))
    return model


def remember(model: keras.Model, record: TaskRecord | None) -> None:
    """Stores the record of a task and its class names in a model."""
    model.task_record = record
    model.class_names = None if record is None else record.class_names
    _mark_output(model)

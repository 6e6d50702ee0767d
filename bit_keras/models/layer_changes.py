"""Saves and restores what was changed on a network's layers after the network was built.

A `ResNetV2` is saved as the arguments of its constructor. But a layer can be changed later: a user
sets its activation or its regularizer, and Keras itself quantizes layers and adds LoRA to them. A
layer that differs from the one that the constructor makes is saved with its own configuration, and
is made from it when the network is loaded.
"""

import copy
import functools
import types
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import keras

from bit_keras.layers.tracing import weights_to_come
from bit_keras.utils import keras_internals
from bit_keras.utils.context_variable import value_set

# While `with_later_changes` builds a network, this variable holds the saved changes of its layers.
_changes = ContextVar("changes", default=types.MappingProxyType({}))

# Maps settings of a variable to the functions that deserialize them. Keras copies these settings
# from the layer to its variables when the layer is built, and later reads only those of the
# variables. A setting that is changed later is therefore in no configuration.
_GETTERS = {"regularizer": keras.regularizers.get, "constraint": keras.constraints.get}

# The names of the variables that the constructor of a network makes as not trainable.
_STATISTICS = ("moving_mean", "moving_variance")


class LayerMaker:
    """Makes the layers of a network, and remembers with which arguments it made each of them.

    Inside `with_later_changes`, a changed layer is made from its saved configuration.

    Attributes:
        layers: the layers by the names that the constructor gives them; a saved layer can have
            another name.
    """

    def __init__(self):
        self.layers: dict[str, keras.layers.Layer] = {}
        self._unchanged: dict[str, Callable[[], keras.layers.Layer]] = {}
        self._saved = _changes.get()

    def make(self, layer: type, *arguments: Any, name: str, **options: Any) -> keras.layers.Layer:
        """Makes a layer from its saved configuration if there is one, else from the arguments."""
        unchanged = functools.partial(layer, *arguments, name=name, **options)
        config = self._saved.get(name, {}).get("config")
        made = unchanged() if config is None else layer.from_config(config)
        self.layers[name], self._unchanged[name] = made, unchanged
        return made

    def add_input(self, layer: keras.layers.InputLayer, dtype: str) -> None:
        """Registers a caller's input layer, to save its differences from the usual input layer."""
        usual = {"shape": layer.batch_shape[1:], "dtype": dtype, "name": "images"}
        self.layers["images"] = layer
        self._unchanged["images"] = functools.partial(keras.layers.InputLayer, **usual)

    def changes(self) -> dict[str, dict]:
        """Returns the configuration of each changed layer, and the changed settings of variables.

        Raises:
            ValueError: a layer cannot be made again from its configuration as it is now.
        """
        found = {}
        with keras_internals.without_shared_objects():
            for name, layer in self.layers.items():
                try:
                    change = _change(layer, self._unchanged[name])
                # All exceptions are caught, because a changed attribute can make any part of Keras
                # fail.
                except Exception as error:
                    raise ValueError(
                        f"Layer {layer.name!r} cannot be saved as it is now, because a loaded "
                        f"model would not compute as this one does: {error}. If the layer was "
                        "changed after it was built, undo the change, or save only the weights by "
                        "model.save_weights."
                    ) from error
                if change:
                    found[name] = change
        return found

    def restore_settings(self, changes: dict[str, dict]) -> None:
        """Sets the settings of variables that `changes` returned; the layers must be built."""
        for name, change in changes.items():
            settings = change.get("variables", {})
            for variable in self.layers[name].weights:
                for setting, value in settings.get(variable.name, {}).items():
                    getter = _GETTERS.get(setting)
                    setattr(variable, setting, value if getter is None else getter(value))


def later_changes(model: keras.Model) -> dict:
    """Returns the changes made to a network since it was built, as entries of its configuration.

    Args:
        model: a network with an attribute `layer_maker`, which made its layers.

    Raises:
        ValueError: a layer cannot be made again from its configuration as it is now.
    """
    return {
        "trainable": model.trainable,
        "frozen_layers": [layer.name for layer in model.layers if not layer.trainable],
        "changed_layers": model.layer_maker.changes(),
    }


def with_later_changes(cls: type, config: dict) -> keras.Model:
    """Builds a network, `cls(**arguments)`, from a configuration and applies its later changes."""
    config = dict(config)
    trainable, frozen = config.pop("trainable", True), config.pop("frozen_layers", ())
    changes = config.pop("changed_layers", {})
    with value_set(_changes, changes):
        model = cls(**config)
    model.trainable = trainable
    for name in frozen:
        model.get_layer(name).trainable = False
    if changes:
        model.layer_maker.restore_settings(changes)
    return model


def _change(layer: keras.layers.Layer, unchanged: Callable[[], keras.layers.Layer]) -> dict:
    change, config = {}, _config(layer)
    if config != _config(unchanged()):
        _check_restorable(layer, config)
        change["config"] = config
    if settings := _settings(layer):
        change["variables"] = settings
    return change


def _config(layer: keras.layers.Layer) -> dict:
    """Returns a layer's configuration as plain data, but without the value of `trainable`."""
    config = keras.saving.serialize_keras_object(layer.get_config())
    config.pop("trainable", None)
    return config


def _check_restorable(layer: keras.layers.Layer, config: dict) -> None:
    """Raises an error unless `config` gives a layer with the same configuration and variables."""
    # Functions and classes that are not registered with Keras are made known to Keras here. When a
    # file is loaded, the user passes them as custom_objects.
    with keras.saving.custom_object_scope(custom_objects_of(layer)), weights_to_come.on():
        again = type(layer).from_config(copy.deepcopy(config))
        if layer.weights:
            again.build_from_config(layer.get_build_config())
    if _config(again) != config:
        raise ValueError("a layer made from the saved configuration has another configuration")
    here, there = ([(v.name, tuple(v.shape), v.dtype) for v in x.weights] for x in (layer, again))
    if here != there:
        raise ValueError(
            f"the layer has the variables {here}, but its configuration gives the variables {there}"
        )
    if getattr(layer, "lora_enabled", False) and layer.lora_kernel_a.regularizer is not None:
        raise ValueError(
            "the layer's LoRA weights have a regularizer; saving would add the LoRA weights to the "
            "kernel, and the regularizer would add another loss"
        )


def custom_objects_of(layer: keras.layers.Layer) -> dict[str, Any]:
    """Returns the functions and classes in a layer's attributes by name, for custom_objects."""
    attributes = vars(layer).values()
    functions = {each.__name__: each for each in attributes if isinstance(each, types.FunctionType)}
    classes = map(type, attributes)
    return functions | {each.__name__: each for each in classes if each.__module__ != "builtins"}


def _settings(layer: keras.layers.Layer) -> dict[str, dict]:
    """Returns the settings of a layer's variables that differ from the layer's own attributes."""
    found = {}
    for variable in layer.weights:
        settings = {
            name: keras.saving.serialize_keras_object(getattr(variable, name))
            for name in _GETTERS
            if getattr(variable, name) is not getattr(layer, f"{variable.name}_{name}", None)
        }
        # For a layer that is not trainable, `trainable` of its variables is not saved, because
        # restoring the layer makes all of them not trainable.
        if layer.trainable and variable.trainable == (variable.name in _STATISTICS):
            settings["trainable"] = variable.trainable
        if settings:
            found[variable.name] = settings
    return found

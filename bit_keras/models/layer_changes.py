"""Saves and restores what was changed on a network's layers after the network was built.

A `ResNetV2` is saved as the arguments of its constructor. But a layer can be changed later: a user
sets its activation or its regularizer, and Keras itself quantizes layers and adds LoRA to them. A
layer that differs from the one that the constructor makes is saved with its own configuration, and
is made from it when the network is loaded.

A `Model(inputs, outputs)` is saved as the configurations of its layers. Only what was changed on
their variables is missing there; `variable_changes` returns it.
"""

import copy
import functools
import types
from collections.abc import Callable, Iterable
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
                    raise ValueError(_cannot_be_saved(layer, error)) from error
                if change:
                    found[name] = change
        return found

    def restore_settings(self, changes: dict[str, dict]) -> None:
        """Sets the settings of variables that `changes` returned; the layers must be built."""
        for name, change in changes.items():
            _restore(self.layers[name].weights, change.get("variables", {}))


def _restore(variables: Iterable[keras.Variable], settings: dict[str, dict]) -> None:
    for variable in variables:
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


def variable_changes(model: keras.Model) -> dict[str, dict]:
    """Returns the settings of variables that the configurations of a model's layers do not hold.

    Args:
        model: a functional model whose `get_config` contains the configurations of its layers.

    Returns:
        A dict by the place of the layer among all layers, as text, with a dict by the name of the
        variable, whose values are dicts of settings.

    Raises:
        ValueError: a variable was taken from its layer, or its settings cannot be saved.
    """
    found = {}
    with keras_internals.without_shared_objects():
        for number, layer in enumerate(_layers_saved_by(model)):
            try:
                _check_variables(layer)
                settings = _settings_beside_config(layer)
            # All exceptions are caught, because a user's setting can fail in any way.
            except Exception as error:
                raise ValueError(_cannot_be_saved(layer, error)) from error
            if settings:
                found[str(number)] = settings
    return found


def restore_variable_changes(model: keras.Model, changes: dict[str, dict]) -> None:
    """Sets the settings of variables that `variable_changes` returned."""
    layers = _layers_saved_by(model)
    for number, settings in changes.items():
        variables = [variable for variable, _ in keras_internals.own_variables(layers[int(number)])]
        _restore(variables, settings)


def _layers_saved_by(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers and sublayers of a model, without the layers of nested BiT networks.

    A nested network with an attribute `layer_maker` saves the changes of its layers itself.
    """
    found, waiting = [], list(reversed(model.layers))
    while waiting:
        layer = waiting.pop()
        if hasattr(layer, "layer_maker"):
            continue
        found.append(layer)
        is_model = isinstance(layer, keras.Model)
        below = layer.layers if is_model else keras_internals.layers_below(layer)
        waiting += reversed(below)
    return found


def _settings_beside_config(layer: keras.layers.Layer) -> dict[str, dict]:
    """Returns the settings of a layer's variables that a layer made from its config would not have.

    Only settings that are an argument of the layer, such as `kernel_regularizer`, are compared.
    """
    found = {}
    for variable, made_trainable in keras_internals.own_variables(layer):
        settings = {}
        for setting in _GETTERS:
            attribute = _attribute_of(layer, variable, setting)
            value = getattr(variable, setting)
            if attribute is not None and value is not getattr(layer, attribute):
                settings[setting] = keras.saving.serialize_keras_object(value)
        if variable.trainable != (layer.trainable and made_trainable):
            settings["trainable"] = variable.trainable
        if settings:
            found[variable.name] = settings
    return found


def _attribute_of(layer: keras.layers.Layer, variable: keras.Variable, setting: str) -> str | None:
    """Returns the attribute of a layer that a variable's setting is made from, or None.

    Keras' names are "kernel_regularizer" for the variable "kernel", but "depthwise_regularizer" for
    the kernel of a DepthwiseConv2D and for the "depthwise_kernel" of a SeparableConv2D.
    """
    other = variable.name.removesuffix("kernel").rstrip("_") or "depthwise"
    attributes = (f"{name}_{setting}" for name in (variable.name, other))
    return next((attribute for attribute in attributes if hasattr(layer, attribute)), None)


def _check_variables(layer: keras.layers.Layer) -> None:
    """Raises an error if a layer of Keras or bit_keras no longer uses one of its variables."""
    if type(layer).__module__.partition(".")[0] not in ("keras", "bit_keras"):
        return
    for variable, _ in keras_internals.own_variables(layer):
        # Layers that keep their variables in a list, such as HubLayer, have no such attribute.
        attributes = {variable.name, f"_{variable.name}"} & set(vars(layer))
        if attributes and not any(getattr(layer, each) is variable for each in attributes):
            raise ValueError(
                f"its variable {variable.name!r} was replaced or removed after the layer was "
                "built, and a layer made from the saved configuration would have it"
            )


def _cannot_be_saved(layer: keras.layers.Layer, error: Exception) -> str:
    return (
        f"Layer {layer.name!r} cannot be saved as it is now, because a loaded model would not "
        f"compute as this one does: {error}. If the layer was changed after it was built, undo the "
        "change, or save only the weights by model.save_weights."
    )


def _change(layer: keras.layers.Layer, unchanged: Callable[[], keras.layers.Layer]) -> dict:
    _check_variables(layer)
    change, config = {}, _config(layer)
    if config != _config(unchanged()):
        _check_restorable(layer, config)
        change["config"] = config
    if settings := _settings(layer):
        change["variables"] = settings
    return change


def _config(layer: keras.layers.Layer) -> dict:
    """Returns a layer's configuration as plain data, but without the value of `trainable`.

    An activation of None becomes "linear", which is the same, because Keras cannot save None.
    """
    if vars(layer).get("activation", "") is None:
        layer.activation = keras.activations.linear
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
        # Restoring a layer that is not trainable makes all of its variables not trainable. A
        # variable that was made trainable after that is restored after the layer.
        if variable.trainable != (layer.trainable and variable.name not in _STATISTICS):
            settings["trainable"] = variable.trainable
        if settings:
            found[variable.name] = settings
    return found

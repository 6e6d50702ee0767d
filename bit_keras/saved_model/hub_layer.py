"""`HubLayer`: a Keras 3 layer over a reusable SavedModel, that really trains it.

`hub.KerasLayer` is a layer of Keras 2. In Keras 3, a layer that merely calls what `hub.load`
returns is silently frozen, because Keras trains only variables that it tracks.
"""

import inspect
import os
import warnings
from collections.abc import Iterable
from typing import Any

import keras
from keras.src.saving.serialization_lib import in_safe_mode

from bit_keras.saved_model.reusable_module import load_reusable

# The handles whose code runs in this process because its author asked for it by name.
_loaded_handles: set[str] = set()


@keras.saving.register_keras_serializable(package="bit_keras")
class HubLayer(keras.layers.Layer):
    """A Keras layer over any reusable TF2 SavedModel, ours or another's, such as Google's BiT.

    It adopts the module's variables, without a copy, adds its regularization losses while the layer
    is trainable, and passes `training` on where the module takes it. A layer that is not trainable
    runs the module with `training=False`, as `BatchNormalization` does. With the tensorflow
    backend only.

    What the module lists as `trainable_variables` is trained; a module without such a list has all
    trainable variables trained that its call uses. `weights` has these first and then the others,
    each in the module's order.

    The module computes in its own dtype under every policy: inputs are cast to it, and outputs are
    as the module gives them. A model that has this layer is not compiled by XLA, as not every
    SavedModel can be; `layer.supports_jit = True` allows it.

    Under a `tf.distribute` strategy, make the layer in `strategy.scope()`. Statistics that the
    module itself updates are then each replica's own, as with Keras' `BatchNormalization`; the
    first replica's are saved.

    A `.keras` file holds the handle and the values of all variables, not the module. A SavedModel
    is executable code, so such a file loads only with
    `keras.models.load_model(path, safe_mode=False)`, or after
    `keras.config.enable_unsafe_deserialization()`. The handle is kept as it was given: a relative
    path is looked up in the working directory of the process that loads the file.

    Args:
        handle_or_path: an address (of tfhub.dev, or of a tar.gz file on any server; fetched once,
            into `$TFHUB_CACHE_DIR`) or the path of a SavedModel's directory.
        trainable: whether its variables are trained.
        name: the layer's.
        dtype: the layer's dtype policy, of no effect on the module.

    Input and output: as the module's, a tensor or a structure of tensors.

    Raises:
        NotImplementedError: when Keras' backend is not tensorflow.
        OSError: when nothing is there, or it cannot be fetched or read.
        ValueError: when what is there is no reusable SavedModel, or cannot be trained.

    Example:

    >>> import tensorflow as tf
    >>> class Scale(tf.Module):
    ...     def __init__(self):
    ...         self.scale = tf.Variable(2.0)
    ...
    ...     @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    ...     def __call__(self, inputs):
    ...         return self.scale * inputs
    >>> tf.saved_model.save(Scale(), "/tmp/scale")
    >>> layer = HubLayer("/tmp/scale", name="scale")
    >>> layer(keras.ops.ones((1, 3))).numpy().tolist()
    [[2.0, 2.0, 2.0]]
    >>> [variable.path for variable in layer.trainable_variables]
    ['scale/Variable']
    """

    def __init__(
        self,
        handle_or_path: str | os.PathLike,
        trainable: bool = True,
        name: str | None = None,
        dtype: Any = None,
    ):
        _refuse_other_backends()
        super().__init__(trainable=trainable, name=name, dtype=dtype)
        # On a GPU, fit compiles unasked; a SavedModel may have ops that XLA cannot compile.
        self.supports_jit = False
        self.handle_or_path = _as_handle(handle_or_path)
        self._module = load_reusable(self.handle_or_path)
        _loaded_handles.add(self.handle_or_path)
        self._takes_training = "training" in inspect.signature(self._module.__call__).parameters
        self._describe_inputs()
        self._adopt_variables()
        self.built = True

    def _describe_inputs(self) -> None:
        functions = self._module.__call__.concrete_functions
        inputs = [function.structured_input_signature[0][0] for function in functions]
        specs = keras.tree.flatten(inputs[0])
        self._input_dtypes = tuple(spec.dtype.name for spec in specs)
        # A module that was traced for one tensor of one shape takes no other.
        if specs[0] is inputs[0] and len({str(spec.shape) for spec in inputs}) == 1:
            known_rank = specs[0].shape.rank is not None
            self.input_spec = keras.layers.InputSpec(
                shape=tuple(specs[0].shape) if known_rank else None, dtype=specs[0].dtype.name
            )

    def _adopt_variables(self) -> None:
        variables, trainable = _variables(self._module, self.handle_or_path)
        names = _unique_names(variables)
        with keras.name_scope(self.name, caller=self):
            self._adopted = [
                keras.Variable(
                    variable,  # Keras keeps a tf.Variable of the same dtype itself, not its value
                    dtype=variable.dtype.name,
                    trainable=id(variable) in trainable,
                    autocast=False,
                    name=name,
                )
                for name, variable in zip(names, variables, strict=True)
            ]
        to_train = [variable for variable in self._adopted if variable.trainable]
        losses = tuple(getattr(self._module, "regularization_losses", ()))
        if to_train and losses:
            # Keras adds what belongs to a variable once a step, while that variable is trained, and
            # add_loss once for each call of the layer, of which a model may have several.
            to_train[0].regularizer = lambda _: sum(loss() for loss in losses)
        # Keras sorts variables by what they were when it first saw them, so only now.
        for variable in to_train:
            variable.trainable = self.trainable
        if self.trainable and not to_train:
            warnings.warn(
                f"HubLayer {self.name!r}: {self.handle_or_path!r} offers no variable to train, so "
                f"nothing of it will be trained. Give trainable=False where that is meant.",
                stacklevel=3,
            )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        self._refuse_variables_of_another_strategy()
        if not self._takes_training:
            return self._module(inputs)
        return self._module(inputs, training=self.trainable and bool(training))

    def _refuse_variables_of_another_strategy(self) -> None:
        import tensorflow as tf

        if not tf.distribute.has_strategy():
            return
        extended = tf.distribute.get_strategy().extended
        if all(extended.variable_created_in_scope(v.value) for v in self._adopted):
            return
        # TensorFlow itself ends in an AssertionError without a word.
        raise ValueError(
            f"HubLayer {self.name!r} was made outside of the tf.distribute strategy that it is "
            f"used under, so its variables are not the strategy's. Make the layer, and the model "
            f"around it, in strategy.scope()."
        )

    @property
    def input_dtype(self) -> str:
        """The module's own: half precision would lose digits that it computes with."""
        floats = [dtype for dtype in self._input_dtypes if "float" in dtype]
        return floats[0] if floats else super().input_dtype

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        self._refuse_variables_of_another_strategy()
        # Of the call itself: a Keras layer would give the policy's dtype, not the module's.
        return keras.Operation.compute_output_spec(self, inputs, training=training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        dtypes = iter(self._input_dtypes)
        inputs = keras.tree.map_shape_structure(
            lambda shape: keras.KerasTensor(shape, next(dtypes)), input_shape
        )
        return keras.tree.map_structure(lambda x: x.shape, self.compute_output_spec(inputs))

    def save_own_variables(self, store: Any) -> None:
        for variable in self._adopted:
            store[variable.name] = variable

    def load_own_variables(self, store: Any) -> None:
        here = {variable.name: tuple(variable.shape) for variable in self._adopted}
        there = {name: tuple(store[name].shape) for name in sorted(store.keys())}
        different = sorted(n for n in {*here, *there} if here.get(n) != there.get(n))
        if different:
            name = different[0]
            raise ValueError(
                f"HubLayer {self.name!r}: {self.handle_or_path!r} is not the module that these "
                f"weights were saved with: {len(different)} variables differ, such as {name!r} "
                f"(in the module {here.get(name, 'not there')}, in the file "
                f"{there.get(name, 'not there')}). Give the module that they were saved with."
            )
        for variable in self._adopted:
            variable.assign(store[variable.name])

    def get_config(self) -> dict:
        return {**super().get_config(), "handle_or_path": self.handle_or_path}

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None, safe_mode: bool | None = None
    ) -> "HubLayer":
        """Makes the layer of its config, unless that would run code nobody asked for.

        Raises:
            ValueError: in safe mode, which is what Keras reads files in unless told otherwise; and
                outside of any file, as in `keras.models.clone_model`, for a handle that no layer of
                this process was made with.
        """
        handle = config["handle_or_path"]
        if safe_mode is None:
            safe_mode = in_safe_mode()
        if safe_mode is None:
            safe_mode = handle not in _loaded_handles
        if safe_mode:
            raise ValueError(
                f"A HubLayer loads the SavedModel {handle!r}, which is executable code; that is "
                f"not allowed in safe mode. If you trust it, pass safe_mode=False to "
                f"keras.models.load_model, or call keras.config.enable_unsafe_deserialization()."
            )
        # Keras' own from_config would bury an error of loading in a TypeError and the config.
        return cls(**config)


def _refuse_other_backends() -> None:
    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError(
            f"HubLayer: a SavedModel is a TensorFlow program, and Keras' backend is "
            f"{keras.backend.backend()}. Set KERAS_BACKEND=tensorflow before keras is imported."
        )


def _as_handle(handle_or_path: str | os.PathLike) -> str:
    if not isinstance(handle_or_path, str | os.PathLike):
        raise ValueError(
            f"HubLayer: expected a handle or a path, by which a .keras file can name the module; "
            f"got {handle_or_path!r}."
        )
    return os.fspath(handle_or_path)


def _variables(module: Any, handle: str) -> tuple[list, set[int]]:
    """All variables that the module lists or its call uses, and the ids of those to train."""
    functions = module.__call__.concrete_functions
    used = [variable for function in functions for variable in function.variables]
    listed = getattr(module, "trainable_variables", None)
    trainable = [v for v in used if v.trainable] if listed is None else list(listed)
    frozen = next((v for v in trainable if not v.trainable), None)
    if frozen is not None:
        raise ValueError(
            f"{handle!r}: {frozen.name} is among trainable_variables, but was made with "
            f"trainable=False: it would get no gradient. Export the module with one or the other."
        )
    variables = {id(v): v for v in [*getattr(module, "variables", ()), *trainable, *used]}
    return list(variables.values()), {id(v) for v in trainable}


def _unique_names(variables: Iterable) -> list[str]:
    """`a/kernel:0` is a_kernel, for Keras allows no slash, and a second one a_kernel_1."""
    names: dict[str, None] = {}
    for variable in variables:
        base = name = variable.name.removesuffix(":0").replace("/", "_")
        count = 0
        while name in names:
            count += 1
            name = f"{base}_{count}"
        names[name] = None
    return list(names)

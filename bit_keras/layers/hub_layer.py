"""`HubLayer`: a Keras 3 layer that wraps a reusable SavedModel and can train it.

`hub.KerasLayer` is a layer of Keras 2. In Keras 3, a layer that only calls the result of `hub.load`
is frozen without a warning, because Keras trains only variables that it tracks.
"""

import inspect
import os
import warnings
from collections.abc import Iterable
from typing import Any

import keras

from bit_keras.layers.hub_module import load_reusable
from bit_keras.utils.keras_internals import in_safe_mode

# The handles of the SavedModels that the user's code has loaded by `HubLayer`. The user trusts the
# code in these SavedModels.
_loaded_handles: set[str] = set()


@keras.saving.register_keras_serializable(package="bit_keras")
class HubLayer(keras.layers.Layer):
    """A Keras layer that wraps a reusable TF2 SavedModel of any origin, such as Google's BiT.

    The layer uses the module's variables without copying them, adds the module's regularization
    losses while the layer is trainable, and passes `training` on if the module takes it. A layer
    that is not trainable runs the module with `training=False`, as `BatchNormalization` does. It
    needs Keras' TensorFlow backend.

    The variables that the module lists as `trainable_variables` are trained. If the module has no
    such list, all trainable variables that its call uses are trained. `weights` has these variables
    first and then the others, both in the module's order.

    The module computes in its own dtype under every policy: inputs are cast to this dtype, and
    outputs are not cast. A model that contains this layer is not compiled by XLA, because XLA
    cannot compile every SavedModel; `layer.supports_jit = True` allows it.

    Under a `tf.distribute` strategy, make the layer in `strategy.scope()`. Each replica then has
    its own copy of statistics that the module itself updates, as with Keras' `BatchNormalization`;
    those of the first replica are saved.

    A `.keras` file holds the handle and the values of all variables, not the module. A SavedModel
    is executable code, so such a file loads only with
    `keras.models.load_model(path, safe_mode=False)`, or after
    `keras.config.enable_unsafe_deserialization()`. The handle is kept as it was given: a relative
    path is looked up in the working directory of the process that loads the file.

    Args:
        handle_or_path: the path of a SavedModel's directory; or an address, on tfhub.dev or of a
            tar.gz file on any server, which is downloaded once, into `$TFHUB_CACHE_DIR`.
        trainable: if True, the module's variables are trained.
        name: name of the layer.
        dtype: the layer's dtype policy; it has no effect on the module.
        activity_regularizer: regularizer of the module's output.
        **unknown: refused; a message says how to do what `hub.KerasLayer` does with the argument.

    Input and output: those of the module, a tensor or a structure of tensors.

    Raises:
        NotImplementedError: Keras' backend is not TensorFlow.
        TypeError: an argument is unknown.
        OSError: there is nothing at the handle, or it cannot be downloaded or read.
        ValueError: the handle is not a reusable SavedModel, or cannot be trained.

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
        activity_regularizer: Any = None,
        **unknown: Any,
    ):
        _refuse_other_backends()
        _refuse_unknown(unknown)
        super().__init__(
            trainable=trainable, name=name, dtype=dtype, activity_regularizer=activity_regularizer
        )
        # A model with this layer is not compiled by XLA. On a GPU, `fit` uses XLA by default, but a
        # SavedModel may have operations that XLA cannot compile.
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
        # A SavedModel that was traced for a single input shape accepts no other shape. That shape
        # becomes the layer's input_spec.
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
                    variable,  # Keras uses a tf.Variable of the same dtype and does not copy it.
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
            # The module's losses become the regularizer of one variable, because Keras adds a
            # variable's regularizer once in each step, and only while the variable is trainable.
            # With add_loss, the losses would be added at each call of the layer, and a model may
            # call the layer several times.
            to_train[0].regularizer = lambda _: sum(loss() for loss in losses)
        # The variables of a frozen layer are created as trainable and frozen afterwards, because
        # Keras assigns a variable to the trainable or to the other weights when it is created.
        for variable in to_train:
            variable.trainable = self.trainable
        if self.trainable and not to_train:
            warnings.warn(
                f"HubLayer {self.name!r}: {self.handle_or_path!r} has no trainable variable, so it "
                "will not be trained. If this is intended, pass trainable=False.",
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
        # Without this error, TensorFlow would raise an AssertionError without a message.
        raise ValueError(
            f"HubLayer {self.name!r} was made outside of the scope of the tf.distribute strategy "
            "that it is used under, so the strategy does not know its variables. Make the layer, "
            "and the model around it, in strategy.scope()."
        )

    @property
    def input_dtype(self) -> str:
        """The dtype that inputs are cast to: the SavedModel's own, so that no precision is lost."""
        floats = [dtype for dtype in self._input_dtypes if "float" in dtype]
        return floats[0] if floats else super().input_dtype

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        self._refuse_variables_of_another_strategy()
        # The output's shape and dtype come from a symbolic call, because keras.Layer would return
        # the policy's dtype instead of the SavedModel's.
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
                f"(shape in the module: {here.get(name, 'missing')}, in the file: "
                f"{there.get(name, 'missing')}). Use the module that they were saved with."
            )
        for variable in self._adopted:
            variable.assign(store[variable.name])

    def get_config(self) -> dict:
        return {**super().get_config(), "handle_or_path": self.handle_or_path}

    @classmethod
    def from_config(
        cls, config: dict, custom_objects: dict | None = None, safe_mode: bool | None = None
    ) -> "HubLayer":
        """Makes the layer from its configuration; raises an error if its module is not trusted.

        Raises:
            ValueError: a file is loaded in safe mode, which is Keras' default; or the layer is made
                without a file, as by `keras.models.clone_model`, and no layer of this process was
                made with this handle.
        """
        handle = config["handle_or_path"]
        if safe_mode is None:
            safe_mode = in_safe_mode()
        if safe_mode is None:
            safe_mode = handle not in _loaded_handles
        if safe_mode:
            raise ValueError(
                f"A HubLayer loads the SavedModel {handle!r}, which is executable code; that is "
                "not allowed in safe mode. If you trust it, pass safe_mode=False to "
                "keras.models.load_model, or call keras.config.enable_unsafe_deserialization()."
            )
        # Keras' own from_config is not used, because it would hide an error of loading the
        # SavedModel in a TypeError.
        return cls(**config)


def _refuse_other_backends() -> None:
    if keras.backend.backend() != "tensorflow":
        raise NotImplementedError(
            "HubLayer: a SavedModel is a TensorFlow program, but Keras' backend is "
            f"{keras.backend.backend()}. Set KERAS_BACKEND=tensorflow before keras is imported."
        )


_SHAPE_OF_INPUT = (
    "Call the layer on a keras.Input of that shape, or make keras.Input(shape) the first element "
    "of a keras.Sequential."
)

# Maps arguments of `hub.KerasLayer` and of Keras 2's layers, which HubLayer refuses, to advice for
# the error message.
_INSTEAD = {
    "input_shape": _SHAPE_OF_INPUT,
    "batch_input_shape": _SHAPE_OF_INPUT,
    "batch_shape": _SHAPE_OF_INPUT,
    "output_shape": "The shape of the output is read from the SavedModel.",
    "signature": "The layer runs the SavedModel's root; keras.layers.TFSMLayer runs a signature.",
    "load_options": "Download the SavedModel first, and pass its directory.",
}


def _refuse_unknown(arguments: dict[str, Any]) -> None:
    for name in arguments:
        raise TypeError(
            f"HubLayer takes no argument {name!r}. "
            f"{_INSTEAD.get(name, 'Expected handle_or_path, trainable, name and dtype.')}"
        )


def _as_handle(handle_or_path: str | os.PathLike) -> str:
    if not isinstance(handle_or_path, str | os.PathLike):
        raise ValueError(
            "HubLayer: expected a handle or a path, which a .keras file can store, got "
            f"{handle_or_path!r}."
        )
    return os.fspath(handle_or_path)


def _variables(module: Any, handle: str) -> tuple[list, set[int]]:
    """Returns all variables of a SavedModel, and a set of `id(variable)` of the trainable ones."""
    functions = module.__call__.concrete_functions
    used = [variable for function in functions for variable in function.variables]
    listed = getattr(module, "trainable_variables", None)
    trainable = [v for v in used if v.trainable] if listed is None else list(listed)
    frozen = next((v for v in trainable if not v.trainable), None)
    if frozen is not None:
        raise ValueError(
            f"{handle!r}: {frozen.name} is in trainable_variables, but was made with "
            "trainable=False, so it would get no gradient. Export the module without this "
            "contradiction."
        )
    variables = {id(v): v for v in [*getattr(module, "variables", ()), *trainable, *used]}
    return list(variables.values()), {id(v) for v in trainable}


def _unique_names(variables: Iterable) -> list[str]:
    """Returns one name per variable, without slashes, which Keras forbids, and without repetition.

    For example, two variables "a/kernel:0" are named "a_kernel" and "a_kernel_1".
    """
    names: dict[str, None] = {}
    for variable in variables:
        base = name = variable.name.removesuffix(":0").replace("/", "_")
        count = 0
        while name in names:
            count += 1
            name = f"{base}_{count}"
        names[name] = None
    return list(names)

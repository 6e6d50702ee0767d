"""Wraps the non-public parts of Keras and TensorFlow that this package uses in functions.

A new version of Keras or TensorFlow may move any of them, so `setup.cfg` pins their minor versions.
CONTRIBUTING.md lists them with the reasons. Besides this file, only `models/model.py` uses private
parts: it overrides methods of Keras' trainer. TensorFlow is imported inside functions, because the
networks also run without it.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.models import Functional
from keras.src.models.model import functional_init_arguments
from keras.src.saving.serialization_lib import SafeModeScope, in_safe_mode

__all__ = ["Functional", "SafeModeScope", "functional_init_arguments", "in_safe_mode"]


# Functions for graphs of Keras layers


def operation_of(tensor: keras.KerasTensor) -> keras.Operation:
    """Returns the layer or operation that computes a symbolic tensor."""
    return tensor._keras_history.operation


def inputs_of_operation(tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
    """Returns the inputs of the call that computes a symbolic tensor.

    The public `operation.input` is ambiguous if a layer was called twice.
    """
    operation, node, _ = tensor._keras_history
    return operation._inbound_nodes[node].input_tensors


def consumers_of(tensor: keras.KerasTensor) -> list[keras.Operation]:
    """Returns the layers and operations that take the output of a tensor's layer as an input."""
    return [node.operation for node in operation_of(tensor)._outbound_nodes]


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the model and all its layers, including the layers of nested models, each once."""
    return list(model._flatten_layers())


def is_graph(operation: Any) -> bool:
    """Returns True for a functional or sequential model whose graph is known."""
    return isinstance(operation, keras.Model) and bool(getattr(operation, "inputs", None))


def own_variables(layer: keras.layers.Layer) -> list[tuple[keras.Variable, bool]]:
    """Returns the variables of a layer itself, without those of its sublayers.

    Beside each variable is True if it was made to be trained; `variable.trainable` may have been
    changed since.
    """
    trainable = [(variable, True) for variable in layer._trainable_variables]
    return trainable + [(variable, False) for variable in layer._non_trainable_variables]


def layers_below(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a layer's direct sublayers."""
    return list(layer._layers)


def is_rematerialized_by_keras(operation: keras.Operation) -> bool:
    """Returns True if a layer or operation was made in a `keras.RematScope`."""
    return getattr(operation, "_remat_mode", None) is not None


def standardized_inputs(model: keras.Model, inputs: Any) -> list:
    """Returns a functional model's inputs as a list, with the dtypes and ranks that it expects."""
    return model._standardize_inputs(inputs)


def raw_kernel(layer: keras.layers.Conv2D) -> keras.Variable:
    """Returns the kernel's variable without LoRA's update, which `layer.kernel` adds."""
    return layer._kernel


@contextlib.contextmanager
def without_shared_objects() -> Iterator[None]:
    """In the `with` block, Keras does not look for objects that it has already serialized.

    While it saves a model, Keras recognizes objects by their addresses, which objects that live
    only for a moment would share with others.
    """
    name = "shared_objects/id_to_config_map"
    before = global_state.get_global_attribute(name)
    global_state.set_global_attribute(name, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(name, before)


# Functions for training steps of Keras models


def call_for_training(model: keras.Model, inputs: Any) -> Any:
    """Calls a model for training, with `training=True` if the model's `call` accepts it."""
    return model(inputs, training=True) if model._call_has_training_arg else model(inputs)


def loss_of(model: keras.Model, x: Any, y: Any, outputs: Any, sample_weight: Any) -> Any:
    """Returns the loss of a training step, including regularization and other added losses."""
    return model._compute_loss(x=x, y=y, y_pred=outputs, sample_weight=sample_weight, training=True)


def additional_losses(model: keras.Model) -> list:
    """Returns the regularization losses and the losses that layers add, as a list."""
    return [model._aggregate_additional_loss(loss) for loss in model.losses]


def update_mean_loss(model: keras.Model, loss: Any, samples: Any) -> None:
    """Adds the loss of a batch to the mean loss that `fit` reports."""
    model._loss_tracker.update_state(loss, sample_weight=samples)


def reported_metrics(model: keras.Model, logs: dict) -> dict:
    """Returns the metrics that `fit` or `evaluate` reports after a step."""
    return model._get_metrics_result_or_logs(logs)


def element_spec(iterator: Any) -> Any:
    """Returns the `element_spec` of the batches that `fit` or `evaluate` is going to read.

    With several replicas, it is the specification of the batches of all replicas.
    """
    return iterator._distributed_dataset.element_spec


def build_metrics_and_loss(model: keras.Model, batch_spec: Any) -> None:
    """Creates the variables of a compiled model's metrics and losses before a step is traced.

    Does nothing for a model with several outputs or for batches other than `(x, y)` or
    `(x, y, weights)` whose labels are one dense tensor of known rank; Keras then creates the
    variables when it traces the first step.
    """
    import tensorflow as tf

    if not isinstance(batch_spec, tuple) or len(batch_spec) < 2 or len(model.outputs) != 1:
        return
    labels = batch_spec[1]
    if not isinstance(labels, tf.TensorSpec) or labels.shape.rank is None:
        return
    y_true = keras.KerasTensor(labels.shape.as_list(), labels.dtype.name)
    for compiled in (model._compile_metrics, model._compile_loss):
        if compiled is not None and not compiled.built:
            compiled.build(y_true, model.outputs[0])


def spec_of_one_replica(spec: Any) -> Any:
    """Returns the TensorSpec of one replica's part of a distributed value."""
    return spec._component_specs[0]


def variable_index(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> int:
    """Returns the index of a variable in the list of variables that an optimizer was built with."""
    return optimizer._get_variable_index(variable)


@contextlib.contextmanager
def gradients_not_summed(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """In the `with` block, a Keras optimizer does not sum its gradients over replicas."""
    attributes = vars(optimizer)
    attributes["_all_reduce_sum_gradients"] = lambda grads_and_vars: grads_and_vars
    try:
        yield
    finally:
        del attributes["_all_reduce_sum_gradients"]


# Functions for TensorFlow's graphs and gradient tapes


def is_compiled_by_xla() -> bool:
    """Returns True if TensorFlow's current graph, or one around it, is compiled by XLA."""
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util

    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def without_tape() -> contextlib.AbstractContextManager:
    """Returns a context manager in which no tf.GradientTape records operations."""
    from tensorflow.python.eager import record

    return record.stop_recording()


def has_tangents(tensors: Sequence) -> bool:
    """Returns True if a `tf.autodiff.ForwardAccumulator` differentiates by one of the tensors."""
    from tensorflow.python.eager import forwardprop_util

    return bool(forwardprop_util.pack_tangents(list(tensors)).tangents)


def record_gradient(name: str, outputs: Sequence, inputs: Sequence, gradient: Callable) -> None:
    """Gives tf.GradientTape a gradient function for tensors whose computation was not recorded.

    The public `tf.custom_gradient` does the same, but keeps each graph until the process ends.

    Args:
        name: name of the operation, for messages.
        outputs: the computed tensors.
        inputs: the tensors that they were computed from.
        gradient: maps the gradients of the outputs to the list of gradients of the inputs.
    """
    from tensorflow.python.eager import record

    record.record_operation(name, list(outputs), list(inputs), gradient)

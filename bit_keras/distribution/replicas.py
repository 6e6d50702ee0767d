"""Refuses settings with which Keras trains wrongly on several replicas; handles empty batches."""

from collections.abc import Callable
from typing import Any

import keras


def refuse_parameter_servers() -> None:
    """Raises a NotImplementedError under a ParameterServerStrategy."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if isinstance(tf.distribute.get_strategy(), tf.distribute.ParameterServerStrategy):
        raise NotImplementedError(
            "bit_keras.Model was created under a ParameterServerStrategy. Keras 3 cannot train "
            "under it: every step would have to go through a ClusterCoordinator. Use "
            "MultiWorkerMirroredStrategy for several machines, MirroredStrategy for one."
        )


def refuse_unsupported(model: keras.Model) -> None:
    """Raises a ValueError if Keras handles a setting of the model wrongly on several replicas."""
    strategy = model.distribute_strategy
    where = f"{type(strategy).__name__} with {strategy.num_replicas_in_sync} replicas"
    if model.jit_compile:
        raise ValueError(
            f"jit_compile=True was asked for under {where}, but XLA compiles for one device and "
            "cannot compile a step in which several devices exchange gradients. Compile with "
            'jit_compile="auto" or False, or train on one device.'
        )
    optimizer = updating(getattr(model, "optimizer", None))
    if getattr(optimizer, "gradient_accumulation_steps", None):
        raise ValueError(
            f"gradient_accumulation_steps={optimizer.gradient_accumulation_steps} was asked for "
            f"under {where}, but Keras would update the weights inside a tf.cond, where replicas "
            "cannot exchange gradients. Pass None and set model.batch_split, which averages the "
            "gradients of slices of one batch; or train on one device."
        )
    if any(reduction(loss) == "mean_with_sample_weight" for loss in keras.tree.flatten(model.loss)):
        raise ValueError(
            f'A loss with reduction="mean_with_sample_weight" was asked for under {where}, but '
            "each replica would divide by the sum of its own sample weights. Use the default "
            "reduction, and divide the weights by their mean."
        )
    if getattr(optimizer, "ema_overwrite_frequency", None):
        raise ValueError(
            f"ema_overwrite_frequency={optimizer.ema_overwrite_frequency} was asked for under "
            f"{where}, but Keras would overwrite the weights inside a tf.cond, in which replicas "
            "cannot exchange values. Pass None; at its end, fit replaces the weights by their "
            "averages."
        )


def updating(optimizer: Any) -> Any:
    """Returns the optimizer that updates the weights: the inner one of a LossScaleOptimizer."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def reduction(loss: Any) -> str | None:
    """Returns the reduction of a `keras.losses.Loss`, such as "sum", or None for any other loss."""
    return getattr(loss, "reduction", None)


def may_be_empty(inputs: Any) -> bool:
    """Returns True if the caller runs on a replica whose share of a batch may have no samples.

    The number of samples is then unknown while the step is traced.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return False
    tensors = keras.tree.flatten(inputs)
    return bool(tensors) and all(
        isinstance(tensor, tf.Tensor) and tensor.shape.rank and tensor.shape[0] is None
        for tensor in tensors
    )


def call_on_samples(call: Callable[[Any], Any], inputs: Any) -> Any:
    """Returns `call(inputs)`; an empty batch gets one sample of zeros, whose output is dropped."""
    import tensorflow as tf

    rows = tf.shape(keras.tree.flatten(inputs)[0])[0]

    def one_at_least(tensor: tf.Tensor) -> tf.Tensor:
        def of_zeros() -> tf.Tensor:
            return tf.zeros(tf.concat([[1], tf.shape(tensor)[1:]], axis=0), tensor.dtype)

        some = tf.cond(tf.equal(rows, 0), of_zeros, lambda: tensor)
        some.set_shape(tensor.shape)
        return some

    outputs = call(keras.tree.map_structure(one_at_least, inputs))
    return keras.tree.map_structure(lambda tensor: tensor[:rows], outputs)


def num_samples(batch: Any) -> Any:
    """Returns the number of samples in a batch: an int if it is known, otherwise a tensor."""
    import tensorflow as tf

    first = next(rows for rows in keras.tree.flatten(batch) if rows is not None)
    return tf.shape(first)[0] if first.shape[0] is None else first.shape[0]

"""What Keras cannot do right under several replicas, refused with the reason and a way out."""

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
    """Raises a ValueError for what several replicas cannot do, or would do wrong."""
    strategy = model.distribute_strategy
    where = f"{type(strategy).__name__} with {strategy.num_replicas_in_sync} replicas"
    if model.jit_compile:
        raise ValueError(
            f"jit_compile=True was asked for under {where}. XLA compiles for one device and cannot "
            'compile a step in which several devices exchange gradients. Compile with "auto" or '
            "False, or train on one device."
        )
    optimizer = updating(getattr(model, "optimizer", None))
    if getattr(optimizer, "gradient_accumulation_steps", None):
        raise ValueError(
            f"gradient_accumulation_steps={optimizer.gradient_accumulation_steps} was asked for "
            f"under {where}. Keras updates the weights inside a tf.cond then, where replicas "
            "cannot meet. Leave it None and set model.batch_split, which averages the gradients of "
            "slices of one batch; or train on one device."
        )
    if any(reduction(loss) == "mean_with_sample_weight" for loss in keras.tree.flatten(model.loss)):
        raise ValueError(
            f'A loss with reduction="mean_with_sample_weight" was asked for under {where}. Each '
            "replica would divide by the sum of its own weights. Use the default reduction and "
            "divide the weights by their mean."
        )
    if getattr(optimizer, "ema_overwrite_frequency", None):
        raise ValueError(
            f"ema_overwrite_frequency={optimizer.ema_overwrite_frequency} was asked for under "
            f"{where}. Keras overwrites the weights inside a tf.cond then, where replicas cannot "
            "meet. Leave it None: fit puts the averages into the weights when it ends."
        )


def updating(optimizer: Any) -> Any:
    """The optimizer that updates the weights: inside a LossScaleOptimizer it is the inner one."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def reduction(loss: Any) -> str | None:
    """Returns how a loss reduces its samples; None for what is no keras.losses.Loss."""
    return getattr(loss, "reduction", None)

"""A training step that processes its batch in slices, to keep only one slice's activations.

    gradient = sum over slices of (samples of the slice / samples of the batch) * its gradient

This is the gradient of the batch's mean loss; for a summed loss, the slices' gradients are added
without weights. The slices are the iterations of one `tf.while_loop`, one after the other. In a
Python loop, TensorFlow could start all slices at once: with four slices that saved 9 % of the
memory, and the `tf.while_loop` 38 %.

Kernels are standardized once, before the loop. The loop adds up the gradients of the standardized
kernels, and after it, these go back through the standardization once. This is not done if a part of
the model is rematerialized, because that shall keep no kernels ready before they are needed, nor if
the model contains classes that are neither Keras' nor of this package.
"""

from typing import Any

import keras

from bit_keras.distribution.replicas import num_samples
from bit_keras.layers.standardized_conv2d import StandardizedConv2D, ready_kernels
from bit_keras.utils import keras_internals
from bit_keras.utils.integers import check_integer

# Maps the reduction of a loss to True if the gradient of a batch is the sum of the gradients of its
# slices, and to False if it is their weighted mean. Keras wraps a loss that is not a
# keras.losses.Loss into one with the default reduction.
_IS_SUM = {"sum_over_batch_size": False, "mean": False, "sum": True}


def check_batch_split(model: keras.Model, slices: Any, own_train_step: bool) -> int:
    """Checks the number of slices into which a model cuts a batch; returns it as a Python int.

    Raises:
        ValueError: `slices` is not a positive integer, or the model cannot train in several slices.
    """
    slices = check_integer("batch_split", slices)
    if slices > 1 and keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"batch_split={slices} needs Keras' TensorFlow backend, but the backend is "
            f"{keras.backend.backend()!r}. Leave batch_split at 1, and give the "
            "optimizer gradient_accumulation_steps."
        )
    if slices > 1 and own_train_step:
        raise ValueError(
            f"batch_split={slices} was set on a {type(model).__name__}, whose own train_step takes "
            "the whole batch. Override compute_loss or compute_metrics instead of train_step, or "
            "slice the batch in that train_step and leave batch_split at 1."
        )
    return slices


def split_train_step(model: keras.Model, data: Any, slices: int) -> dict:
    """Makes one training step like Keras' `train_step`, but processes the batch in slices.

    The loss is computed for each slice, and the metrics from the predictions for the whole batch.
    If a batch has fewer samples than slices, each sample is a slice.

    Args:
        model: a compiled model with weights to train.
        data: the data of the step, as for `keras.Model.train_step`.
        slices: number of slices.

    Returns:
        The metrics, as `keras.Model.train_step` does.

    Raises:
        ValueError: a loss has a reduction that cannot be computed from slices.
    """
    import tensorflow as tf

    is_sum = _is_sum(model)
    batch = keras.utils.unpack_x_y_sample_weight(data)
    samples = num_samples(batch)
    # XLA needs slices of equal size, because the size must be known when XLA compiles the step.
    count = _number_of_equal(samples, slices) if model.jit_compile else _at_most(samples, slices)
    weights = model.trainable_weights
    layers = _standardizing_layers(model)
    with tf.GradientTape() as of_standardization:
        kernels = [layer.standardized_kernel() for layer in layers]
    sources = [*weights, *kernels]
    has_gradient = [True] * len(sources)

    def one_slice(index: Any, loss: Any, gradients: list, predictions: list) -> tuple:
        start, size = _extent(index, samples, count, equal=model.jit_compile)
        share = tf.cast(size, "float32") / tf.cast(samples, "float32")
        part = keras.tree.map_structure(lambda rows: _slice(rows, start, size), batch)
        # Inside a tf.while_loop, a tape can compute gradients only of tensors that are made in the
        # loop.
        ready = [tf.identity(kernel) for kernel in kernels]
        with tf.GradientTape() as tape, ready_kernels(dict(zip(layers, ready, strict=True))):
            tape.watch(ready)
            outputs = keras_internals.call_for_training(model, part[0])
            part_loss = _part_of_loss(model, part, outputs, share, is_sum)
            scaled = model.optimizer.scale_loss(part_loss)
            # The gradients are computed with the opposite sign and subtracted from the totals. If
            # they were added, TensorFlow's graph optimizer would join the additions into one
            # operation with a temporary variable; inside nested loops that variable is left behind,
            # and the next iteration fails (ALREADY_EXISTS).
            falling = -scaled
        parts = tape.gradient(falling, [*weights, *ready])
        has_gradient[:] = [part is not None for part in parts]
        return (
            index + 1,
            loss + tf.cast(part_loss, loss.dtype),
            [
                total if part is None else total - tf.cast(part, total.dtype)
                for total, part in zip(gradients, parts, strict=True)
            ],
            [
                array.write(index, rows)
                for array, rows in zip(predictions, keras.tree.flatten(outputs), strict=True)
            ],
        )

    specification = _output_specification(model, batch[0])
    _, loss, gradients, predictions = tf.while_loop(
        lambda index, *_: index < count,
        one_slice,
        (
            tf.constant(0),
            tf.zeros((), keras.config.floatx()),
            [tf.zeros(source.shape, source.dtype) for source in sources],
            [_rows_to_come(output, count) for output in keras.tree.flatten(specification)],
        ),
        parallel_iterations=1,
    )
    gradients = [
        gradient if found else None for gradient, found in zip(gradients, has_gradient, strict=True)
    ]
    direct, of_kernels = gradients[: len(weights)], gradients[len(weights) :]
    through = _through(of_standardization, kernels, of_kernels, weights)
    model.optimizer.apply_gradients(zip(map(_sum, direct, through), weights, strict=True))
    x, y, sample_weight = batch
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    keras_internals.update_mean_loss(model, loss * replicas, samples)
    outputs = [array.concat() for array in predictions]
    outputs = keras.tree.pack_sequence_as(specification, outputs)
    return model.compute_metrics(x, y, outputs, sample_weight=sample_weight)


def _standardizing_layers(model: keras.Model) -> list[StandardizedConv2D]:
    """Returns the trainable layers whose kernels can be standardized once for the whole step.

    The list is empty if the model contains a class that is neither Keras' nor of this package. Such
    a class might mask a kernel, call the model with other weights, or compute a shared layer again
    in a way that reads only variables.
    """
    layers = keras_internals.all_layers(model)
    operations = [part for layer in layers for part in getattr(layer, "operations", [])]
    if not all(map(_is_plain, layers + operations)):
        return []
    return [
        layer
        for layer in layers
        if type(layer) is StandardizedConv2D and layer.built and layer.trainable
    ]


def _is_plain(operation: keras.Operation) -> bool:
    """Returns True for a layer of Keras or bit_keras that is neither rematerialized nor Lambda."""
    is_known = type(operation).__module__.partition(".")[0] in ("bit_keras", "keras")
    is_again = getattr(
        operation, "is_rematerialized", False
    ) or keras_internals.is_rematerialized_by_keras(operation)
    return is_known and not is_again and not isinstance(operation, keras.layers.Lambda)


def _through(tape: Any, kernels: list, gradients: list, weights: list) -> list:
    """Returns the gradients of the weights, given the gradients of the standardized kernels."""
    found = [pair for pair in zip(kernels, gradients, strict=True) if pair[1] is not None]
    if not found:
        return [None] * len(weights)
    # Kernels whose gradient is None are left out, because TensorFlow would use ones instead of
    # None.
    kernels, gradients = map(list, zip(*found, strict=True))
    return tape.gradient(kernels, weights, output_gradients=gradients)


def _sum(direct: Any, through: Any) -> Any:
    if direct is None or through is None:
        return through if direct is None else direct
    return direct + through


def _is_sum(model: keras.Model) -> bool:
    """Returns True if the model's losses are sums over samples, and False if they are means."""
    reductions = {
        getattr(loss, "reduction", "sum_over_batch_size")
        for loss in keras.tree.flatten(model.loss)
        if loss is not None
    }
    unknown = reductions - _IS_SUM.keys()
    if unknown or len({_IS_SUM[reduction] for reduction in reductions}) > 1:
        raise ValueError(
            f"batch_split={model.batch_split} with losses of reduction "
            f"{', '.join(sorted(map(repr, reductions)))}: slices of a batch can be combined only "
            'if all losses have the reduction "sum_over_batch_size", or all have "sum". Choose one '
            "of the two, or train with batch_split = 1."
        )
    return any(_IS_SUM[reduction] for reduction in reductions)


def _at_most(samples: Any, slices: int) -> Any:
    import tensorflow as tf

    return min(samples, slices) if isinstance(samples, int) else tf.minimum(samples, slices)


def _number_of_equal(samples: Any, slices: int) -> Any:
    """Returns the smallest number, at least `slices`, of equal slices that make up a batch.

    It is at most the number of samples.
    """
    import tensorflow as tf

    if isinstance(samples, int):
        return next((n for n in range(slices, samples) if samples % n == 0), samples)
    numbers = tf.range(1, samples + 1)
    is_one = (numbers >= slices) & (samples % numbers == 0)
    return tf.reduce_min(tf.where(is_one, numbers, samples))


def _extent(index: Any, samples: Any, count: Any, equal: bool) -> tuple:
    """Returns the position of a slice's first sample in the batch, and the slice's size."""
    start = index * samples // count
    if equal or (isinstance(samples, int) and samples % count == 0):
        return start, samples // count
    return start, (index + 1) * samples // count - start


def _slice(rows: Any, start: Any, size: Any) -> Any:
    import tensorflow as tf

    if rows is None:
        return None
    rank = len(rows.shape)
    return tf.slice(rows, [start] + [0] * (rank - 1), [size] + [-1] * (rank - 1))


def _part_of_loss(model: keras.Model, part: Any, outputs: Any, share: Any, is_sum: bool) -> Any:
    """Returns the part of a batch's loss that the samples of one slice contribute."""
    import tensorflow as tf

    x, y, sample_weight = part
    loss = keras_internals.loss_of(model, x, y, outputs, sample_weight)
    share = tf.cast(share, loss.dtype)
    if not is_sum:
        return loss * share
    # The summed loss of a batch contains the regularization losses once, but the loss of each slice
    # contains all of them. The surplus is subtracted from each slice's loss.
    for loss_of_weights in keras_internals.additional_losses(model):
        loss -= (1 - share) * tf.cast(loss_of_weights, loss.dtype)
    return loss


def _output_specification(model: keras.Model, x: Any) -> Any:
    return model.compute_output_spec(
        keras.tree.map_structure(
            lambda rows: keras.KerasTensor((None, *rows.shape[1:]), rows.dtype), x
        )
    )


def _rows_to_come(output: keras.KerasTensor, count: Any) -> Any:
    import tensorflow as tf

    return tf.TensorArray(
        output.dtype, count, infer_shape=False, element_shape=(None, *output.shape[1:])
    )

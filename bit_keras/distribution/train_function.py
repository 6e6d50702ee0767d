"""Runs a training or test step on all replicas of a tf.distribute strategy for Keras' trainer."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras

from bit_keras.distribution.replicas import num_samples, reduction, updating
from bit_keras.utils import keras_internals


def replica_spec(element_spec: Any) -> Any:
    """Returns the TensorSpecs of one replica's data, given those of all replicas of a worker."""
    import tensorflow as tf

    def first(spec: Any) -> Any:
        if issubclass(spec.value_type, tf.distribute.DistributedValues):
            return keras_internals.spec_of_one_replica(spec)
        return spec

    return keras.tree.map_structure(first, element_spec)


def distributed_function(model: keras.Model, step: Callable) -> Callable:
    """Returns the function with which Keras runs `steps_per_execution` steps on all replicas.

    Args:
        model: a compiled model with several replicas.
        step: the model's `train_step` or `test_step`.
    """
    import tensorflow as tf

    strategy = model.distribute_strategy
    steps = model.steps_per_execution
    # Each replica has its own number of samples, because MirroredStrategy runs each replica in its
    # own thread.
    samples = threading.local()

    def step_on_replica(data: Any, share_out: bool) -> Any:
        if share_out:
            data = _share(data)
        samples.count = tf.cast(num_samples(data), "float32")
        return step(data)

    @tf.autograph.experimental.do_not_convert
    def one_step(data: Any, share_out: bool = False) -> Any:
        with _reducing_before_applying(model, samples):
            outputs = strategy.run(step_on_replica, args=(data, share_out))
        return keras.tree.map_structure(lambda v: strategy.reduce("MEAN", v, axis=None), outputs)

    @tf.autograph.experimental.do_not_convert
    def one_execution(iterator: Any) -> Any:
        batch = iterator.get_next()
        # The step waits for get_next, which fails at the end of the data. Otherwise, operations
        # that do not need the batch, such as weight decay, would run before get_next fails.
        with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
            outputs = one_step(batch)
        return outputs if steps == 1 else _further_steps(one_step, iterator, outputs, steps)

    if not model.run_eagerly:
        # Inside its tf.function, one_execution calls one_step as a plain Python function, because
        # collective operations lose their keys in a tf.function inside the loop of another
        # tf.function.
        one_execution = tf.function(one_execution, reduce_retracing=True)
        one_step_alone = tf.function(one_step, reduce_retracing=True)
    else:
        one_step_alone = one_step

    def function(iterator: Any) -> Any:
        if isinstance(iterator, tf.distribute.DistributedIterator):
            return one_execution(iterator)
        # train_on_batch and test_on_batch use this branch. A step returns means over the replicas;
        # the exact metrics are computed from the metrics' variables, as in fit and evaluate.
        logs = one_step_alone(next(iterator), share_out=True)
        return keras_internals.reported_metrics(model, logs)

    return function


def _further_steps(one_step: Callable, iterator: Any, outputs: Any, steps: int) -> Any:
    """Runs the remaining steps of `steps_per_execution`, or fewer at the end of the data."""
    import tensorflow as tf

    def another_step(done: Any, _: Any, outputs: Any) -> Any:
        batch = iterator.get_next_as_optional()
        found = batch.has_value()
        outputs = tf.cond(found, lambda: one_step(batch.get_value()), lambda: outputs)
        return done + 1, found, outputs

    return tf.while_loop(
        lambda done, found, _: tf.logical_and(done < steps, found),
        another_step,
        (tf.constant(1), tf.constant(True), outputs),
    )[2]


@contextlib.contextmanager
def _reducing_before_applying(model: keras.Model, samples: threading.local) -> Iterator[None]:
    """Inside the `with` block, the optimizer first sums gradients over replicas, then clips them.

    Keras sums the gradients last, after clipping them and after the check for overflow. The
    optimizer is changed only while a step is traced (or runs eagerly), and outside of the replicas,
    because the threads of the replicas interleave.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        yield
        return
    stock_apply = optimizer.apply
    weighted = not _sums_samples(model)

    def apply(grads: Iterable, trainable_variables: Any = None) -> None:
        count = samples.count if weighted else None
        stock_apply(_global_gradients(list(grads), count), trainable_variables)

    with keras_internals.gradients_not_summed(updating(optimizer)):
        vars(optimizer)["apply"] = apply
        try:
            yield
        finally:
            del vars(optimizer)["apply"]


def _global_gradients(grads: list, count: Any) -> list:
    """Returns the gradients summed over replicas; with `count`, weighted by numbers of samples."""
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    present = [g for g in grads if g is not None]
    if replica is None or not present:
        return grads
    if count is not None:
        # Keras has divided the loss by the number of replicas, as if all had the same number of
        # samples. The weight corrects this: it is this replica's number of samples, divided by the
        # mean number. Regularization losses, which are the same on every replica, do not change,
        # because the mean of the weights is 1.
        total = replica.all_reduce(tf.distribute.ReduceOp.SUM, count)
        weight = count * replica.num_replicas_in_sync / total
        present = [tf.math.scalar_mul(tf.cast(weight, g.dtype), g) for g in present]
    reduced = iter(replica.all_reduce(tf.distribute.ReduceOp.SUM, present))
    return [None if g is None else next(reduced) for g in grads]


def _share(data: Any) -> Any:
    """Returns this replica's part of a batch; every replica has received the whole batch."""
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    index, replicas = replica.replica_id_in_sync_group, replica.num_replicas_in_sync

    def rows(leaf: Any) -> Any:
        if leaf is None:
            return None
        # The samples are chosen by a mask and not by a slice, because Keras' losses fail if a slice
        # is known to be empty when the step is traced.
        return tf.boolean_mask(leaf, tf.range(tf.shape(leaf)[0]) % replicas == index)

    return keras.tree.map_structure(rows, data)


def _sums_samples(model: keras.Model) -> bool:
    return any(reduction(loss) == "sum" for loss in keras.tree.flatten(model.loss))

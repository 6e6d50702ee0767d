"""`Model`: a `keras.Model` whose `fit`, `evaluate` and `predict` are correct under tf.distribute.

Keras' TensorFlow trainer knows tf.distribute, but some of its paths fail under more than one
replica and some are silently wrong. `tests/models/test_stock_keras.py` shows each fault of stock
Keras, and fails when Keras mends one.

The methods with a leading underscore override methods of Keras' trainer that are not public;
CONTRIBUTING.md lists them.
"""

import functools
from typing import Any

import keras

from bit_keras.distribution.batch_split import check_batch_split, split_train_step
from bit_keras.distribution.replicas import (
    call_on_samples,
    may_be_empty,
    refuse_parameter_servers,
    refuse_unsupported,
)
from bit_keras.distribution.train_function import distributed_function, replica_spec
from bit_keras.models import task_record
from bit_keras.models.checks import (
    check_class_weight,
    check_images,
    check_labels,
    warn_of_logits,
    warn_of_metrics,
)
from bit_keras.models.layer_changes import restore_variable_changes, variable_changes
from bit_keras.models.task_record import TaskRecord
from bit_keras.utils import keras_internals
from bit_keras.utils.keras_internals import Functional, functional_init_arguments

# The key under which a functional model's configuration holds the result of `variable_changes`.
_CHANGED_VARIABLES = "changed_variables"


@keras.saving.register_keras_serializable(package="bit_keras")
class Model(keras.Model):
    """A `keras.Model` that gives correct results when it trains or predicts under tf.distribute.

    With one replica, or with another backend than TensorFlow, it is `keras.Model`. With more it
    differs in this:

    * `fit` and `evaluate` work under `MultiWorkerMirroredStrategy`, where stock Keras reduces
      scalars along an axis that they lack (https://github.com/keras-team/keras/issues/20585), and
      with `steps_per_execution > 1`;
    * the optimizer clips the gradient of the global batch, and looks for overflow in it, where
      stock Keras clips the gradient of each replica's share;
    * in a batch that the replicas cannot share evenly, such as a partial last one, each sample has
      the same weight, where stock Keras gives each replica the same weight. Losses with
      `reduction="sum"` need no weights; the loss that is reported for such a batch is then
      approximate;
    * `fit` reads no batch before the first step, where stock Keras loses a generator's first
      batches;
    * `train_on_batch` and `test_on_batch` divide the batch among the replicas, where stock Keras
      gives the whole batch to every replica; `predict_on_batch` returns each prediction once, where
      stock Keras returns it once per replica.

    Create and compile the model in `strategy.scope()`, and make one strategy for the whole process,
    because TensorFlow mixes up the messages of two strategies over the same devices. Only
    `self.optimizer` is corrected; further optimizers of a subclass behave as in stock Keras. If you
    override `compute_loss`, return the replica's loss divided by the number of replicas, as
    `keras.losses.Loss` does.

    With more than one replica, these are refused, because they would fail or be wrong:
    `jit_compile=True`, an optimizer with `gradient_accumulation_steps` or
    `ema_overwrite_frequency`, and a loss with `reduction="mean_with_sample_weight"`.
    `ParameterServerStrategy` is always refused. As in stock Keras, the loss that is reported for
    each of several outputs is approximate for a batch that cannot be shared evenly; their sum is
    exact.

    `class_names` are the names of a classifier's classes, in the order of its logits, or None.
    `bit_keras.finetune`, `pretrain` and `distill` set them, and you can set them. A `.keras` file
    keeps those of a functional graph. A functional graph whose output is the output of a model with
    names, as in `Model(model.input, model.output)`, takes them over. `bit_keras.evaluate` matches
    the labels of a task with them, and an export serves them.

    `Model(inputs, outputs)` is a functional graph. A subclass is one if it calls
    `super().__init__(inputs=..., outputs=...)`, and otherwise defines `call`, as with
    `keras.Model`.

    Example:

    >>> import keras
    >>> inputs = keras.Input((4,))
    >>> model = Model(inputs, keras.layers.Dense(2)(inputs))
    >>> isinstance(model, Model), model.output_shape
    (True, (None, 2))
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> "Model":
        if cls is Model and functional_init_arguments(args, kwargs):
            return super().__new__(FunctionalModel, *args, **kwargs)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        refuse_parameter_servers()
        is_functional = functional_init_arguments(args, kwargs)
        if is_functional:
            _make_functional(type(self))
        super().__init__(*args, **kwargs)
        if is_functional:
            task_record.inherit(self)

    class_names: tuple[str, ...] | None = None
    # `bit_keras.models.task_record.remember` sets this attribute.
    task_record: TaskRecord | None = None

    _batch_split = 1

    @property
    def batch_split(self) -> int:
        """The number of slices into which a training step cuts its batch.

        With several replicas, each replica processes its share of the batch in slices. A step
        keeps the activations of one slice only, and the gradient is the same. Losses and
        regularization have the same weights as for the whole batch, metrics see all predictions,
        and the optimizer is applied once. Layers that use other samples, such as batch
        normalization, use those of their slice; layers that change at every call, such as spectral
        normalization, change with every slice.

        The number is a setting of the training, so no file stores it. It needs the TensorFlow
        backend. A subclass with its own `train_step` is refused; override `compute_loss` instead.
        """
        return self._batch_split

    @batch_split.setter
    def batch_split(self, slices: int) -> None:
        own_train_step = type(self).train_step is not Model.train_step
        self._batch_split = check_batch_split(self, slices, own_train_step)
        self.train_function = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = super().__call__
        if not args or not may_be_empty(args[0]):
            return call(*args, **kwargs)
        return call_on_samples(lambda inputs: call(inputs, *args[1:], **kwargs), args[0])

    # Keras passes the data of the step and, with JAX, also the values of the variables.
    def train_step(self, *args: Any) -> Any:
        if self.batch_split == 1 or not self.trainable_weights:
            return super().train_step(*args)
        return split_train_step(self, *args, self.batch_split)

    @functools.wraps(keras.Model.fit)
    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        # The loss is checked in fit and not in compile, because a model class that overrides
        # compile is not compiled when Keras loads it from a file.
        warn_of_logits(self)
        check_labels(self, x, y)
        check_class_weight(self, kwargs.get("class_weight"))
        return super().fit(x, y, *args, **kwargs)

    def make_train_function(self, force: bool = False) -> None:
        if _traces_stock_steps(self) and self.trainable_variables:
            self.optimizer.build(self.trainable_variables)
        if not _is_distributed(self):
            super().make_train_function(force)
            return
        refuse_unsupported(self)
        if self.train_function is None or force:
            self.train_function = distributed_function(self, self.train_step)

    def make_test_function(self, force: bool = False) -> None:
        if not _is_distributed(self):
            super().make_test_function(force)
            return
        refuse_unsupported(self)
        if self.test_function is None or force:
            self.test_function = distributed_function(self, self.test_step)

    def make_predict_function(self, force: bool = False) -> None:
        if _is_distributed(self):
            refuse_unsupported(self)
        super().make_predict_function(force)

    def predict_on_batch(self, x: Any) -> Any:
        outputs = super().predict_on_batch(x)
        if not _is_distributed(self):
            return outputs
        copies = self.distribute_strategy.num_replicas_in_sync
        return keras.tree.map_structure(lambda rows: rows[: len(rows) // copies], outputs)

    def _assert_input_compatibility(self, *args: Any) -> None:
        check_images(self, args[0])
        super()._assert_input_compatibility(*args)

    def _standardize_inputs(self, inputs: Any) -> Any:
        check_images(self, inputs)
        return super()._standardize_inputs(inputs)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # Keras' own method reads a batch to find the shapes of the data, which fails with several
        # workers. The dataset's element_spec gives the shapes without reading a batch, so a
        # generator loses no batch, and a shuffle buffer is not filled twice.
        if iterator is not None and _is_distributed(self):
            data_batch = replica_spec(keras_internals.element_spec(iterator))
            iterator = None
        elif iterator is not None and _traces_stock_steps(self):
            keras_internals.build_metrics_and_loss(self, keras_internals.element_spec(iterator))
        super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)
        warn_of_metrics(self)


@keras.saving.register_keras_serializable(package="bit_keras")
class FunctionalModel(Model, Functional):
    """The class of the functional models that `Model(inputs, outputs)` creates.

    It is separate from `Model`, because models that define `call` cannot inherit from `Functional`.
    """

    def get_config(self) -> dict:
        config = {**super().get_config(), **task_record.config_of(self)}
        if changes := variable_changes(self):
            config[_CHANGED_VARIABLES] = changes
        return config

    @classmethod
    def from_config(cls, config: dict, custom_objects: Any = None) -> "FunctionalModel":
        config, record = task_record.taken_from(config)
        changes = config.pop(_CHANGED_VARIABLES, {})
        model = super().from_config(config, custom_objects)
        restore_variable_changes(model, changes)
        if record is None:
            # A model without class names is saved without a record, even if a model in it has one.
            task_record.remember(model, None)
        return task_record.with_record(model, record)


def _make_functional(cls: type) -> None:
    # Only the class `cls` gets the new base class Functional. Keras would also change the base
    # class of `Model`, and then no subclass of `Model` could define `call`.
    if not issubclass(cls, Functional):
        cls.__bases__ = (*cls.__bases__, Functional)


def _is_distributed(model: Model) -> bool:
    # Models on other backends than TensorFlow have no attribute distribute_strategy.
    strategy = getattr(model, "distribute_strategy", None)
    return strategy is not None and strategy.num_replicas_in_sync > 1


def _traces_stock_steps(model: Model) -> bool:
    """Returns True if TensorFlow traces Keras' own training and test step for this model.

    TensorFlow traces a tf.function twice if the first trace creates variables. The model creates
    those of the optimizer, the metrics and the loss before, so that each step is traced once.
    """
    own = ("train_step", "test_step", "compute_loss", "compute_metrics")
    return (
        keras.backend.backend() == "tensorflow"
        and isinstance(model, Functional)
        and model.optimizer is not None
        and all(getattr(type(model), name) is getattr(Model, name) for name in own)
    )

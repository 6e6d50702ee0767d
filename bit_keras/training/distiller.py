"""A Keras model that trains a student network to predict the outputs of a teacher."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from bit_keras.models.model import Model
from bit_keras.training.teachers import FEATURES, LOGITS, Teacher

# The key of the labels in a batch that also has the teacher's outputs.
LABELS = "labels"

# The key of the teacher's outputs among those of this model, for images without labels.
TEACHER = "teacher"

# The least variance of a feature, relative to the mean variance of all features. Of the 1 280
# features of EfficientNet-Lite0 on 1 200 small pictures, the smallest is 0.017.
_LEAST_VARIANCE = 1e-3


class Distiller(Model):
    """Trains a student network to predict a teacher's probabilities, features or both.

        loss of the logits   = temperature**2 *
                               KL(softmax(teacher / temperature) || softmax(student / temperature))
        loss of the features = mean((standardized features of the teacher
                                     - dense layer of the student's features)**2)

    The loss is their sum, a mean over images; the divergence is in nats, and the factor keeps the
    size of its gradient the same at every temperature. Each feature of the teacher is standardized
    with its mean and variance over some images (`standardize_on`). Labels are used for the metrics
    only; if the student's images have no labels, the teacher's most probable class is the label.

    The teacher's weights are not part of this model, so they are neither trained nor saved with it.
    The dense layer on the student's features is saved with the training state, and is not part of
    the student.

    `keras.distillation.Distiller` is not used, because it is a plain keras.Model, which is not
    right under several workers, saves the teacher with each state, and raises all probabilities to
    at least 1e-7, so that a student that is confident and wrong gets no gradient.

    Args:
        student: gives logits; it is trained.
        teacher: its logits are of the same classes, or of more.
        temperature: above 0; the paper's is 1.
        places: the place of each of the student's classes among the teacher's; None if both have
            the same classes in the same order.
        labelled: if False, the images have no labels.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: Teacher,
        temperature: float = 1.0,
        places: Sequence[int] | None = None,
        labelled: bool = True,
    ):
        # The Distiller gets the student's dtype policy, because Keras scales the loss if the policy
        # of the trained model is mixed_float16.
        super().__init__(name=f"{student.name}_distiller", dtype=student.dtype_policy)
        self.student = student
        # Keras loss objects divide their values by the number of replicas, which is needed here.
        self._losses_of = {}
        if LOGITS in teacher.widths:
            self._losses_of[LOGITS] = _Divergence(temperature)
        if FEATURES in teacher.widths:
            self._losses_of[FEATURES] = keras.losses.MeanSquaredError()
            width = teacher.widths[FEATURES]
            self.standardization = keras.layers.Normalization(dtype="float32")
            self.standardization.build((None, width))
            self.projection = keras.layers.Dense(width, dtype="float32", name="projection")
            pooled = student.endpoints["features"]
            self.projection.build(pooled.shape)
            both = keras.Model(student.inputs[0], [student.outputs[0], pooled])
            # Keras tracks layers that are attributes. A function hides this second model of the
            # student's layers.
            self._run_student = lambda images, training: both(images, training=training)
        self._teach = teacher.teach
        self._in_pipeline, self._places, self._labelled = teacher.in_pipeline, places, labelled

    def standardize_on(self, features: np.ndarray) -> None:
        """Sets the mean and variance of each feature of the teacher from those of some images."""
        self.standardization.adapt(features)
        # A feature that is nearly constant on these images must not become huge on others.
        variance = self.standardization.adapt_variance
        least = _LEAST_VARIANCE * float(ops.mean(variance))
        variance.assign(ops.maximum(variance, least))
        self.standardization.finalize_state()

    def with_teacher(self, images, labels):
        """Returns a batch, with the teacher's outputs if the teacher runs in the input pipeline."""
        if not self._in_pipeline:
            return images, labels
        return images, {LABELS: labels, **self._teach(images)}

    def call(self, images, training=False):
        teaches = not (self._labelled or self._in_pipeline)
        if FEATURES in self._losses_of:
            logits, features = self._run_student(images, training)
            outputs = {LOGITS: logits, FEATURES: self.projection(features)}
        elif teaches:
            outputs = {LOGITS: self.student(images, training=training)}
        else:
            return self.student(images, training=training)
        # Without labels, the loss and the accuracy both need the teacher, which runs once here.
        return {**outputs, TEACHER: self._teach(images)} if teaches else outputs

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        student = _named(y_pred)
        teacher = self._taught(x, student.get(TEACHER, y))
        losses = [loss(teacher[name], student[name]) for name, loss in self._losses_of.items()]
        if LOGITS not in self._losses_of:
            # Keras warns of weights without a gradient, which those of the head would be.
            losses.append(0.0 * ops.sum(student[LOGITS]))
        return sum(losses)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        student = _named(y_pred)
        logits = student[LOGITS]
        if self._labelled:
            labels = y[LABELS] if self._in_pipeline else y
        elif LOGITS in self._losses_of:
            said = student.get(TEACHER, y)[LOGITS]
            labels = ops.one_hot(ops.argmax(said, axis=-1), logits.shape[-1])
        else:
            labels = ops.zeros_like(logits)
        return super().compute_metrics(x, labels, logits, sample_weight)

    def _taught(self, images, batch) -> dict:
        """Returns the outputs that the student learns: logits of its classes, scaled features."""
        outputs = dict(batch) if isinstance(batch, dict) else self._teach(images)
        if LOGITS in self._losses_of and self._places is not None:
            outputs[LOGITS] = ops.take(outputs[LOGITS], np.asarray(self._places), axis=-1)
        if FEATURES in self._losses_of:
            outputs[FEATURES] = self.standardization(outputs[FEATURES])
        return {name: ops.stop_gradient(outputs[name]) for name in self._losses_of}


def _named(outputs) -> dict:
    return outputs if isinstance(outputs, dict) else {LOGITS: outputs}


class _Divergence(keras.losses.Loss):
    def __init__(self, temperature: float):
        super().__init__(name="divergence")
        self.temperature = temperature

    def call(self, y_true, y_pred):
        taught = ops.log_softmax(y_true / self.temperature)
        learned = ops.log_softmax(y_pred / self.temperature)
        divergence = ops.sum(ops.exp(taught) * (taught - learned), axis=-1)
        return self.temperature**2 * divergence

"""A Keras model that trains a student network to predict a teacher's probabilities."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from bit_keras.models.model import Model


class Distiller(Model):
    """Trains a student network to predict the probabilities of a teacher for the same images.

        loss = temperature**2 * KL(softmax(teacher / temperature) || softmax(student / temperature))

    The loss is a mean over images, in nats; the factor keeps the size of its gradient the same at
    every temperature. Labels are used for the metrics only. The teacher's weights are not part of
    this model, so they are neither trained nor saved with it.

    `keras.distillation.Distiller` is not used, because it is a plain keras.Model, which is not
    right under several workers, saves the teacher with each state, and raises all probabilities to
    at least 1e-7, so that a student that is confident and wrong gets no gradient.

    Args:
        student: gives logits; it is trained.
        teacher: gives logits of the same classes, or of more.
        temperature: above 0; the paper's is 1.
        places: the place of each of the student's classes among the teacher's; None if both have
            the same classes in the same order.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model,
        temperature: float = 1.0,
        places: Sequence[int] | None = None,
    ):
        # The Distiller gets the student's dtype policy, because Keras scales the loss if the policy
        # of the trained model is mixed_float16.
        super().__init__(name=f"{student.name}_distiller", dtype=student.dtype_policy)
        self.student = student
        # Gradients are summed over replicas, so the loss must be divided by the number of replicas.
        # A Keras `Loss` object does this.
        self._divergence = _Divergence(temperature)
        # Keras would add the weights of the teacher to this model if the teacher were an attribute,
        # so the teacher is hidden in a function.
        self._teach = lambda images: _chosen(teacher(images, training=False), places)

    def call(self, images, training=False):
        return self.student(images, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self._divergence(ops.stop_gradient(self._teach(x)), y_pred)


def _chosen(logits, places: Sequence[int] | None):
    return logits if places is None else ops.take(logits, np.asarray(places), axis=-1)


class _Divergence(keras.losses.Loss):
    def __init__(self, temperature: float):
        super().__init__(name="divergence")
        self.temperature = temperature

    def call(self, y_true, y_pred):
        taught = ops.log_softmax(y_true / self.temperature)
        learned = ops.log_softmax(y_pred / self.temperature)
        divergence = ops.sum(ops.exp(taught) * (taught - learned), axis=-1)
        return self.temperature**2 * divergence

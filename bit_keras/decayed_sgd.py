"""SGD with momentum and coupled weight decay, the optimizer of Big Transfer's pre-training."""

from collections.abc import Sequence

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="bit_keras")
class DecayedSGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD` on the loss plus `l2 / 2 * sum(kernel ** 2)` over all kernels.

        velocity <- momentum * velocity - rate * (gradient + l2 * kernel)
        kernel   <- kernel + velocity

    Coupled: the decay goes through the momentum and the learning rate. Biases and the gains of
    normalization do not decay, and the reported loss has no such term. (`weight_decay=` of Keras'
    own optimizers is decoupled, which with momentum 0.9 is about a tenth as much.)

    Args:
        learning_rate: a number or a schedule.
        momentum: 0 or above, below 1.
        l2: weight decay, 0 or above; Big Transfer's is 1e-4.
        **arguments: of `keras.optimizers.SGD`.
    """

    def __init__(
        self, learning_rate=0.01, momentum: float = 0.9, l2: float = 1e-4, **arguments
    ) -> None:
        super().__init__(learning_rate, momentum=momentum, **arguments)
        self.l2 = l2

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            # The numbers by which Keras finds a variable's momentum.
            self._decayed = {i for i, variable in enumerate(variables) if variable.name == "kernel"}
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate) -> None:
        if self._get_variable_index(variable) in self._decayed:
            gradient = ops.cast(gradient, variable.dtype) + self.l2 * variable
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict:
        return super().get_config() | {"l2": self.l2}

"""SGD with momentum and coupled weight decay, the optimizer of Big Transfer's pre-training."""

from collections.abc import Sequence

import keras
from keras import ops

from bit_keras.utils.keras_internals import variable_index
from bit_keras.utils.momentum_sgd import MomentumSGD


@keras.saving.register_keras_serializable(package="bit_keras")
class DecayedSGD(MomentumSGD):
    """SGD with momentum on the loss plus `l2 / 2 * sum(kernel ** 2)` over all kernels.

        velocity <- momentum * velocity + gradient + l2 * kernel
        kernel   <- kernel - rate * velocity

    The decay is coupled: it goes through the momentum and the learning rate. Biases and the gains
    of normalization do not decay, and the reported loss does not contain this term. (The
    `weight_decay` of Keras' own optimizers is decoupled, which with momentum 0.9 has about a tenth
    of the effect.)

    Args:
        learning_rate: a number or a schedule.
        momentum: 0 or above, and below 1.
        l2: weight decay, 0 or above; Big Transfer uses 1e-4.
        **arguments: further arguments of `bit_keras.MomentumSGD`.
    """

    def __init__(
        self, learning_rate=0.01, momentum: float = 0.9, l2: float = 1e-4, **arguments
    ) -> None:
        super().__init__(learning_rate, momentum=momentum, **arguments)
        self.l2 = l2

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            # The indices of the kernels among the optimizer's variables. Only kernels get weight
            # decay.
            self._decayed = {i for i, variable in enumerate(variables) if variable.name == "kernel"}
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate) -> None:
        if variable_index(self, variable) in self._decayed:
            gradient = ops.cast(gradient, variable.dtype) + self.l2 * variable
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict:
        return super().get_config() | {"l2": self.l2}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "DecayedSGD":
        # Files of an earlier version of bit_keras have no `rate_in_velocity`. In these files, the
        # velocity contains the learning rate.
        return super().from_config({"rate_in_velocity": True} | config, custom_objects)

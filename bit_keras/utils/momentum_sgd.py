"""SGD with momentum in the form of PyTorch and JAX, in which the velocity is a sum of gradients."""

import keras
from keras import ops

from bit_keras.utils.keras_internals import variable_index


@keras.saving.register_keras_serializable(package="bit_keras")
class MomentumSGD(keras.optimizers.SGD):
    """SGD with momentum; the learning rate multiplies the velocity and is not a part of it.

        velocity <- momentum * velocity + gradient
        variable <- variable - rate * velocity

    This is the update of `torch.optim.SGD` and of JAX's optimizers. When the learning rate falls to
    a tenth, the next step is a tenth as long. In `keras.optimizers.SGD`, the velocity is a sum of
    steps, so that steps of the old length go on for about `1 / (1 - momentum)` steps. With a
    constant rate, the two are the same. The weight decay of Keras, clipping, averages of weights
    and the scaling of losses work as in `keras.optimizers.SGD`.

    Args:
        learning_rate: a number or a schedule.
        momentum: from 0 to 1.
        nesterov: if True, the step is `rate * (gradient + momentum * velocity)`.
        rate_in_velocity: if True, update as `keras.optimizers.SGD` does. Trainings that began so in
            an earlier version of the package are finished so.
        **arguments: further arguments of `keras.optimizers.SGD`.
    """

    def __init__(
        self,
        learning_rate=0.01,
        momentum: float = 0.9,
        nesterov: bool = False,
        rate_in_velocity: bool = False,
        **arguments,
    ) -> None:
        super().__init__(learning_rate, momentum=float(momentum), nesterov=nesterov, **arguments)
        self.rate_in_velocity = rate_in_velocity

    def update_step(self, gradient, variable, learning_rate) -> None:
        if self.rate_in_velocity or self.momentum == 0:
            super().update_step(gradient, variable, learning_rate)
            return
        gradient = ops.cast(gradient, variable.dtype)
        momentum = ops.cast(self.momentum, variable.dtype)
        velocity = self.momentums[variable_index(self, variable)]
        summed = ops.add(ops.multiply(velocity, momentum), gradient)
        self.assign(velocity, summed)
        if self.nesterov:
            summed = ops.add(gradient, ops.multiply(summed, momentum))
        self.assign_sub(variable, ops.multiply(summed, ops.cast(learning_rate, variable.dtype)))

    def get_config(self) -> dict:
        return super().get_config() | {"rate_in_velocity": self.rate_in_velocity}

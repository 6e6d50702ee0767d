"""`python backend_program.py WEIGHTS.npz OUTPUT.npz`: the logits of R50x1 and the gradient of every
weight, under whichever backend Keras has.
"""

import sys

import keras
import numpy as np
from fabricated import CLASSES, images

import bit_keras


def gate(model):
    """Shifts each channel, four deviations up or down, away from where its ReLU bends.

    What float32 rounds, differently in each backend, else puts the odd activation on the other
    side, and one of those moves the gradient of a kernel in block 4 by a tenth of its largest.
    """
    for weight in model.weights:
        if weight.name == "gamma":
            weight.assign(np.ones(weight.shape))
        elif weight.name == "beta":
            weight.assign(np.where(np.arange(weight.shape[0]) % 2, 4.0, -4.0))


def gradients(model, x, labels):
    """The gradient of the mean cross-entropy, by the path of the weight."""
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    found = _GRADIENTS[keras.backend.backend()](model, x, labels, cross_entropy)
    return {
        weight.path.replace("/", "."): keras.ops.convert_to_numpy(gradient)
        for weight, gradient in zip(model.trainable_variables, found, strict=True)
    }


def _by_tensorflow(model, x, labels, cross_entropy):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = cross_entropy(labels, model(x, training=True))
    return tape.gradient(loss, [weight.value for weight in model.trainable_variables])


def _by_jax(model, x, labels, cross_entropy):
    import jax

    def loss(values):
        return cross_entropy(labels, model.stateless_call(values, [], x, training=True)[0])

    return jax.jit(jax.grad(loss))([weight.value for weight in model.trainable_variables])


def _by_torch(model, x, labels, cross_entropy):
    cross_entropy(labels, model(x, training=True)).backward()
    return [weight.value.grad for weight in model.trainable_variables]


_GRADIENTS = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}


def main(weights, output):
    model = bit_keras.create("BiT-S-R50x1", pretrained=weights)
    # At this size every padding and stride leaves a remainder.
    logits = model.predict(images(1, 97, 131, 3), verbose=0)
    gate(model)
    found = gradients(model, images(2, 64, 64, 3), np.array([3, CLASSES - 1]))
    np.savez(output, logits=logits, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])

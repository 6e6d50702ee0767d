"""Trains `hub.KerasLayer` over a SavedModel: Keras 2, in a process without bit_keras.

    python hub_keras_layer_program.py SAVED_MODEL BATCHES.npz RESULT.npz LEARNING_RATE TRAINABLE

BATCHES.npz has `images` [steps, batch, height, width, 3] and `labels` [steps, batch]; RESULT.npz
gets the variables by number in the module's order, and the loss of each step.
"""

import sys
import warnings

import numpy as np


def main(saved_model, batches, result, learning_rate, trainable):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources")
        import tensorflow_hub as hub
        import tf_keras

    data = np.load(batches)
    layer = hub.KerasLayer(saved_model, trainable=bool(int(trainable)))
    model = tf_keras.Sequential([tf_keras.Input((None, None, 3)), layer])
    model.compile(
        tf_keras.optimizers.SGD(float(learning_rate), momentum=0.9),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses = [
        model.train_on_batch(images, labels)
        for images, labels in zip(data["images"], data["labels"], strict=True)
    ]
    assert "bit_keras" not in sys.modules
    variables = {str(i): v.numpy() for i, v in enumerate(layer.resolved_object.variables)}
    np.savez(result, losses=losses, regularization=sum(map(float, layer.losses)), **variables)


if __name__ == "__main__":
    main(*sys.argv[1:])

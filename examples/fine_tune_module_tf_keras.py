"""Fine-tunes a module of this package on handwritten digits in tf_keras (Keras 2).

    python examples/fine_tune_module_tf_keras.py

`hub.KerasLayer` takes what `bit_keras.export_saved_model` writes, and whoever uses it needs neither
bit_keras nor Keras 3. Without --module a small network with random weights is exported first; that
takes half a minute on two cores. Keras 3 has `bit_keras.HubLayer`: see fine_tune_module.py.
"""

import tempfile

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras
from absl import app, flags
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

_MODULE = flags.DEFINE_string("module", None, "Handle or path of a module that gives features.")
_STEPS = flags.DEFINE_integer("steps", 100, "Training steps, of 64 images each.")

SIDE = 32  # side of the network's images in pixels; the digits have 8


def export_small_network(path):
    import bit_keras

    network = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, include_top=False)
    bit_keras.export_saved_model(network, path, input_range=(0, 1))


def main(_):
    tf_keras.utils.set_random_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    images = np.repeat(pixels.reshape(-1, 8, 8, 1) / 16, 3, axis=-1)  # values in [0, 1]
    images = tf.image.resize(images, (SIDE, SIDE)).numpy()
    x_train, x_test, y_train, y_test = train_test_split(images, labels, random_state=0)

    with tempfile.TemporaryDirectory() as folder:
        module = _MODULE.value or f"{folder}/module"
        if not _MODULE.value:
            export_small_network(module)
        layer = hub.KerasLayer(module, trainable=True)
        model = tf_keras.Sequential([tf_keras.Input((SIDE, SIDE, 3)), layer])
        model.add(tf_keras.layers.Dense(10))

    model.compile(
        optimizer=tf_keras.optimizers.SGD(0.03, momentum=0.9),
        loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    chosen = np.random.default_rng(0).integers(0, len(x_train), 64 * _STEPS.value)
    model.fit(x_train[chosen], y_train[chosen], batch_size=64)
    accuracy = model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
    print(f"test accuracy {accuracy:.1%}")


if __name__ == "__main__":
    app.run(main)

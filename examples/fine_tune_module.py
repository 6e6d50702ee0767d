"""Fine-tunes a reusable SavedModel on handwritten digits, as a layer of Keras 3.

    python examples/fine_tune_module.py
    python examples/fine_tune_module.py --module https://tfhub.dev/google/bit/m-r50x1/1

Any reusable SavedModel will do: give the path of a directory, or an address that tensorflow_hub
resolves.
Without --module it is a small network with random weights that this program exports first; that
takes half a minute on two cores. `hub.KerasLayer`, which Keras 3 does not take, does the same in
fine_tune_module_tf_keras.py.
"""

import tempfile

import keras
import numpy as np
from absl import app, flags
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import bit_keras

_MODULE = flags.DEFINE_string("module", None, "Handle or path of a module that gives features.")
_STEPS = flags.DEFINE_integer("steps", 100, "Training steps, of 64 images each.")

SIDE = 32  # side of the network's images in pixels; the digits have 8


def main(_):
    keras.utils.set_random_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    images = np.repeat(pixels.reshape(-1, 8, 8, 1) / 16, 3, axis=-1)  # values in [0, 1]
    images = keras.ops.convert_to_numpy(keras.ops.image.resize(images, (SIDE, SIDE)))
    x_train, x_test, y_train, y_test = train_test_split(images, labels, random_state=0)

    with tempfile.TemporaryDirectory() as folder:
        module = _MODULE.value or f"{folder}/module"
        if not _MODULE.value:
            network = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, include_top=False)
            bit_keras.export_saved_model(network, module, input_range=(0, 1))
        inputs = keras.Input((SIDE, SIDE, 3))
        features = bit_keras.HubLayer(module, trainable=True)(inputs)
        model = keras.Model(inputs, keras.layers.Dense(10)(features))

    model.compile(
        optimizer=keras.optimizers.SGD(0.03, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    chosen = np.random.default_rng(0).integers(0, len(x_train), 64 * _STEPS.value)
    model.fit(x_train[chosen], y_train[chosen], batch_size=64)
    accuracy = model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
    print(f"test accuracy {accuracy:.1%}")


if __name__ == "__main__":
    app.run(main)

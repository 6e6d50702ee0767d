"""Exports a small digits model and classifies encoded images with it, one of them broken.

    python examples/serve_bytes.py

Trains for a few seconds, so that it gets some digits right, writes a SavedModel and calls its
signature `serving_bytes` as a server would, with PNG or JPEG files of any size. The signature
itself decodes, resizes and scales the images. Takes half a minute on two cores.
"""

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from sklearn.datasets import load_digits

import bit_keras

_STEPS = flags.DEFINE_integer("steps", 60, "Training steps, of 64 images each.")
_OUTPUT = flags.DEFINE_string("output", "digits_module", "Where the SavedModel is written.")

SIDE = 32  # pixels of the images that the network is trained on; the digits have 8


def main(_):
    keras.utils.set_random_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    images = np.repeat(pixels.reshape(-1, 8, 8, 1) * 255 / 16, 3, axis=-1)
    resized = tf.image.resize(images, (SIDE, SIDE)).numpy()

    model = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=10)
    model.compile(
        optimizer=keras.optimizers.SGD(0.03, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    chosen = np.random.default_rng(0).integers(10, len(images), 64 * _STEPS.value)
    model.fit(bit_keras.preprocess_input(resized[chosen]), labels[chosen], batch_size=64)

    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    bit_keras.export_saved_model(
        model, _OUTPUT.value, class_names=names, image_size=SIDE, overwrite=True
    )

    serve = tf.saved_model.load(_OUTPUT.value).signatures["serving_bytes"]
    files = [tf.io.encode_png(image).numpy() for image in images[:10].astype("uint8")]
    files[3] = files[3][:40]  # a damaged file
    answer = {name: tensor.numpy() for name, tensor in serve(tf.constant(files)).items()}
    for label, best, probability, name in zip(
        labels[:10], *(answer[k][:, 0] for k in ("classes", "probabilities", "names")), strict=True
    ):
        said = "no image" if best == -1 else f"{name.decode()}, probability {probability:.2f}"
        print(f"a {label}: {said}")


if __name__ == "__main__":
    app.run(main)

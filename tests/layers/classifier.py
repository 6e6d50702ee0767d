"""A classifier around a layer under test, and its training: the same every time."""

import keras
import numpy as np

STEPS, BATCH, CLASSES = 20, 8, 5


def data():
    rng = np.random.default_rng(1)
    images = rng.uniform(-1, 1, (STEPS * BATCH, 6, 7, 3)).astype("float32")
    return images, rng.integers(0, CLASSES, STEPS * BATCH)


def classifier(base, model_class=keras.Model, **compile_arguments):
    inputs = keras.Input((None, None, 3))
    head = keras.layers.Dense(CLASSES, dtype="float32")
    model = model_class(inputs, head(base(inputs)))
    head.kernel.assign(np.random.default_rng(2).normal(size=head.kernel.shape))
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **compile_arguments,
    )
    return model


def train(model):
    images, labels = data()
    return model.fit(images, labels, batch_size=BATCH, shuffle=False, verbose=0).history["loss"]

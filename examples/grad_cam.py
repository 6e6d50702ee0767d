"""Shows where a network looks: Grad-CAM over one of its endpoints.

    python examples/grad_cam.py
    python examples/grad_cam.py --model runs/R14x0.5-digits/model.keras

Each channel of the endpoint's map is weighted by the gradient of a class' logit, averaged over the
map; the positive part of the sum is the heat map (arXiv 1610.02391, section 3). The network knows
single digits. It is shown four at once and asked for one: the heat should be on that one.
Without --model a small network is trained first; less than a minute on two cores. Saves
grad_cam.png.
"""

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from matplotlib.figure import Figure

import bit_keras

ENDPOINTS = ("root", "block1", "block2", "block3", "block4", "pre_head")
_MODEL = flags.DEFINE_string("model", None, "A digit classifier of this package: a .keras file.")
_STEPS = flags.DEFINE_integer("steps", 150, "Training steps without --model, of 64 images each.")
_ENDPOINT = flags.DEFINE_enum("endpoint", "block4", ENDPOINTS, "The endpoint to look at.")


def digits(examples):
    """Returns a task's digits as float32 images `[m, 32, 32, 3]` in [-1, 1], and their labels."""
    images = np.stack([example["image"] for example in examples.dataset().as_numpy_iterator()])
    return bit_keras.preprocess_input(images.repeat(4, axis=1).repeat(4, axis=2)), examples.labels


def train(images, labels, steps):
    """Returns a small network that was trained from random weights."""
    model = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=10)
    rate = keras.optimizers.schedules.CosineDecay(0.03, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
    chosen = np.random.default_rng(0).integers(len(images), size=64 * steps)
    model.fit(images[chosen], labels[chosen], batch_size=64)
    return model


def grad_cam(model, images, classes, endpoint):
    """Returns where a classifier sees its classes.

    Args:
        model: a bit_keras.ResNetV2 with a head.
        images: float32 `[n, height, width, channels]` in [-1, 1].
        classes: integers `[n]`: for each image, the class whose logit is explained.
        endpoint: a key of `model.endpoints` whose tensor is a feature map.

    Returns:
        Heat maps `[n, height / stride, width / stride]`, 0 and above; they have no unit.
    """
    body = keras.Function(model.input, model.endpoints[endpoint])
    rest = keras.Function(model.endpoints[endpoint], model.endpoints["logits"])
    maps = body(images)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        score = tf.gather(rest(maps), classes, axis=1, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)).numpy()


def main(_):
    keras.utils.set_random_seed(0)
    task = bit_keras.task("digits")
    if _MODEL.value:
        model = keras.models.load_model(_MODEL.value)
    else:
        model = train(*digits(task.train), _STEPS.value)

    images, labels = digits(task.test)
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(images), size=(200, 4))
    chosen = chosen[[len(set(labels[four])) == 4 for four in chosen]]  # four different digits
    quarters = images[chosen].reshape(-1, 2, 2, 32, 32, 3)
    pictures = quarters.transpose(0, 1, 3, 2, 4, 5).reshape(-1, 64, 64, 3)
    places = rng.integers(4, size=len(chosen))
    asked = np.take_along_axis(labels[chosen], places[:, np.newaxis], axis=1)[:, 0]

    heat = grad_cam(model, pictures, asked, _ENDPOINT.value)
    side = heat.shape[1] // 2
    by_quarter = heat.reshape(-1, 2, side, 2, side).sum(axis=(2, 4)).reshape(-1, 4)
    right = by_quarter.argmax(axis=1) == places
    print(f"the digit asked for is the hottest of the four in {right.mean():.1%} of the pictures")

    figure = Figure(figsize=(9, 6), layout="constrained")
    figure.suptitle(f"Grad-CAM over {_ENDPOINT.value} (red: another digit is hotter)")
    for i, axes in enumerate(figure.subplots(3, 5).flat):
        axes.imshow(pictures[i] / 2 + 0.5)
        axes.imshow(
            heat[i], cmap="inferno", alpha=0.6, extent=(0, 64, 64, 0), interpolation="bilinear"
        )
        axes.set_title(f"where is the {asked[i]}?", color="green" if right[i] else "red")
        axes.axis("off")
    figure.savefig("grad_cam.png")


if __name__ == "__main__":
    app.run(main)

"""The small networks of all tests, and weights that no initializer would give."""

import keras
import numpy as np

import bit_keras
from bit_keras.models import variants

TINY = {"depths": (1, 1, 1, 1), "width": 0.5}


def tiny(**arguments):
    return bit_keras.ResNetV2(**{**TINY, "classes": 10, **arguments})


def quick(classes=10, name="quick", dtype=None):
    """Returns a network that TensorFlow traces in a second, a tenth of what `tiny` takes.

    It is for tests of runs, files and options, which would be the same with any network.
    """
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 5, strides=4, activation="relu", dtype=dtype)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(classes, dtype=dtype)(x)
    model = bit_keras.Model(inputs, outputs, name=name)
    model.dtype_policy = keras.dtype_policies.get(dtype)
    return model


@keras.saving.register_keras_serializable(package="tests")
class QuickResNet(bit_keras.ResNetV2):
    """A `ResNetV2` of a root and a head alone, for tests of runs that take no other class.

    TensorFlow traces it in a second. An official weight file holds its weights.
    """

    def __init__(self, classes=3, name="quick", dtype=None):
        images = keras.Input((None, None, 3), name="images")
        x = bit_keras.StandardizedConv2D(
            32, 5, strides=4, use_bias=False, name="root_block_standardized_conv2d", dtype=dtype
        )(images)
        x = bit_keras.GroupNormalization(activation="relu", name="group_norm", dtype=dtype)(x)
        x = keras.layers.GlobalAveragePooling2D(name="features", dtype=dtype)(x)
        head = keras.layers.Dense(
            classes, kernel_initializer="zeros", name="head_conv2d", dtype=dtype
        )
        bit_keras.Model.__init__(self, inputs=images, outputs=head(x), name=name)
        self.classes, self.normalization, self.standardize = classes, "group", True
        self.dtype_policy = keras.dtype_policies.get(dtype)
        parts = ("root", "block1", "block2", "block3", "block4", "features")
        self.endpoints = dict.fromkeys(parts, x)
        self.unit_boundaries = ()
        self.rematerialize(None)

    def get_config(self):
        return {"classes": self.classes, "name": self.name, "dtype": self.dtype_policy.name}


def randomize(model, seed=0):
    """Sets all weights at random: a head that is not zero, gamma and beta away from 1 and 0."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        centre = 1.0 if variable.name == "gamma" else 0.0
        variable.assign(centre + 0.3 * rng.normal(size=variable.shape))
    return model


def images(*shape, seed=0):
    """Random images in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def shrink(monkeypatch, name="BiT-M-R50x1"):
    """Has the zoo build the tiny network under the name of a large one."""
    variant = variants.VARIANTS[name]
    architecture = variants.Architecture(TINY["depths"], TINY["width"], parameters=0)
    small = variants.Variant(name, architecture, variant.upstream)
    monkeypatch.setitem(variants.VARIANTS, name, small)

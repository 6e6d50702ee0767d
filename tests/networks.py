"""The tiny network of all tests, and weights that no initializer would give."""

import numpy as np

import bit_keras
from bit_keras import zoo

TINY = {"depths": (1, 1, 1, 1), "width": 0.5}


def tiny(**arguments):
    return bit_keras.ResNetV2(**{**TINY, "classes": 10, **arguments})


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
    variant = zoo.VARIANTS[name]
    architecture = zoo.Architecture(TINY["depths"], TINY["width"], parameters=0)
    small = zoo.Variant(name, architecture, variant.upstream)
    monkeypatch.setitem(zoo.VARIANTS, name, small)

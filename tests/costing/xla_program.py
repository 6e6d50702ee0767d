"""Prints the multiply-adds that XLA is given for each architecture: a line of name and number.

Run with KERAS_BACKEND=jax. The networks are traced without weights: R152x4 costs no memory.
"""

import math
import re

import jax
import keras

import bit_keras
from bit_keras.models.variants import ARCHITECTURES

CONVOLUTION = re.compile(
    r"stablehlo\.convolution.*? : "
    r"\(tensor<[^>]*>, tensor<(\d+)x(\d+)x(\d+)x\d+xf32>\) -> tensor<([\dx]+)xf32>"
)
PRODUCT = re.compile(
    r"stablehlo\.dot_general.*contracting_dims = \[1\] x \[0\].*? : "
    r"\(tensor<[^>]*>, tensor<(\d+)x\d+xf32>\) -> tensor<([\dx]+)xf32>"
)


def product(shape):
    return math.prod(map(int, shape.split("x")))


def multiply_adds(architecture):
    with keras.StatelessScope(initialize_variables=False):
        model = bit_keras.ResNetV2(architecture.depths, architecture.width, classes=1000)

    def forward(weights, images):
        return model.stateless_call(weights, [], images)[0]

    weights = [jax.ShapeDtypeStruct(v.shape, "float32") for v in model.trainable_variables]
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), "float32")
    program = jax.jit(forward).lower(weights, images).as_text()
    total = 0
    for height, width, channels, outputs in CONVOLUTION.findall(program):
        total += int(height) * int(width) * int(channels) * product(outputs)
    for channels, outputs in PRODUCT.findall(program):
        total += int(channels) * product(outputs)
    return total


for name, architecture in ARCHITECTURES.items():
    print(name, multiply_adds(architecture), flush=True)

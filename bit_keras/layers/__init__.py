"""The layers of Big Transfer, and a Keras layer that wraps any reusable SavedModel."""

import keras  # noqa: F401  (Keras comes first: see `__getattr__` in bit_keras/__init__.py.)

from bit_keras.layers.group_normalization import GroupNormalization
from bit_keras.layers.hub_layer import HubLayer
from bit_keras.layers.standardized_conv2d import StandardizedConv2D, standardize_kernel

__all__ = ["GroupNormalization", "HubLayer", "StandardizedConv2D", "standardize_kernel"]

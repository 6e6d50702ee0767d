"""Checks the arguments of `ResNetV2` and of the functions that build models by name."""

from collections.abc import Sequence
from numbers import Real

import keras

from bit_keras.utils.integers import is_positive_integer
from bit_keras.utils.machine_memory import machine_memory

# The largest allowed number of units in a block. TensorFlow builds this many in half a minute.
_LARGEST_DEPTH = 1000

_BYTES = 4  # The number of bytes of a float32 weight.


def check_depths(depths, blocks: int) -> None:
    """Raises a ValueError unless `depths` has a positive integer for each block."""
    count = len(depths) if hasattr(depths, "__len__") else 0
    if count != blocks or not all(map(is_positive_integer, depths)):
        raise ValueError(
            f"depths={depths!r}: expected the number of units in each of the {blocks} blocks, "
            "integers of at least 1, such as (3, 4, 6, 3)."
        )


def check_width(width, root_filters: int, groups: int) -> None:
    """Raises a ValueError unless `groups` divides all channel counts of a network of this width."""
    is_number = isinstance(width, Real) and not isinstance(width, bool)
    if not is_number or width <= 0 or (root_filters * width) % groups:
        raise ValueError(
            f"width={width!r}: expected a positive factor that makes {root_filters} * width a "
            f"multiple of the {groups} groups, such as 0.5, 1, 1.5 or 3."
        )


def check_size(depths, width, root_filters: int, channels: int, classes: int) -> None:
    """Raises a ValueError for a network that is too large or takes too long to build.

    A damaged or hostile file can ask for such a network as well as a caller can.

    Args:
        depths: the number of units in each block.
        width: the factor of all channel counts.
        root_filters: the number of filters of the root convolution at width 1.
        channels: the number of channels of the images.
        classes: the size of the head, or 0.
    """
    if max(depths) > _LARGEST_DEPTH:
        raise ValueError(
            f"depths={tuple(depths)}: expected at most {_LARGEST_DEPTH} units in a block, because "
            "building more takes hours. The deepest published networks have 333 units."
        )
    # Of each unit, only the 3 x 3 kernel is counted, which has about half of the unit's weights.
    # The network needs more memory than this estimate.
    filters = int(root_filters * width)
    units = sum(int(depth) * 9 * (filters << block) ** 2 for block, depth in enumerate(depths))
    others = 49 * channels * filters + 32 * filters * classes
    needed, memory = _BYTES * (units + others), machine_memory()
    if needed > memory:
        raise ValueError(
            f"depths={tuple(depths)}, width={width:g}, {channels} channels and "
            f"{classes} classes need more than {needed >> 30} GiB for the weights, and this "
            f"machine has {memory >> 30} GiB of memory. Choose a smaller network."
        )


def check_pooling(pooling) -> None:
    """Raises a ValueError unless `pooling` is "avg" or None."""
    if pooling not in ("avg", None):
        raise ValueError(
            f"pooling={pooling!r}: expected 'avg' (pooled features) or None (the feature map)."
        )


def check_layers(normalization, standardize) -> None:
    """Raises a ValueError unless `normalization` and `standardize` have allowed values."""
    if normalization not in ("group", "batch"):
        raise ValueError(
            f"normalization={normalization!r}: expected 'group' (BiT) or 'batch' (ResNet-v2)."
        )
    if not isinstance(standardize, bool):
        raise ValueError(f"standardize={standardize!r}: expected True (BiT) or False.")


def check_classes(classes) -> int:
    """Returns `classes` as an int; raises a ValueError unless it is a positive integer."""
    if not is_positive_integer(classes):
        raise ValueError(
            f"classes={classes!r}: expected the size of the head, an integer of at least 1. "
            "For a model without a head pass include_top=False."
        )
    return int(classes)


def check_input_shape(input_shape) -> None:
    """Raises a ValueError unless input_shape is `(height or None, width or None, channels)`."""
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) else (input_shape,)
    if len(shape) != 3 or not all(size is None or is_positive_integer(size) for size in shape):
        raise ValueError(
            f"input_shape={shape}: expected (height, width, channels), each an integer of at "
            "least 1; height and width may be None."
        )
    if shape[0] in (1, 3) and (shape[2] is None or shape[2] >= 32):
        raise ValueError(
            f"input_shape={shape} looks like channels_first, which BiT does not support. Expected "
            f"(height, width, channels): {(*shape[1:], shape[0])}."
        )
    if shape[2] is None:
        raise ValueError(
            f"input_shape={shape}: the number of channels must be given; RGB images have 3."
        )


def check_input_tensor(tensor):
    """Returns the `keras.Input` from which the argument `input_tensor` is computed.

    Raises:
        ValueError: the tensor is not symbolic, has a wrong shape or dtype, or has several inputs.
    """
    if not keras.utils.is_keras_tensor(tensor):
        raise ValueError(
            f"input_tensor is a {type(tensor).__name__}; expected a keras.Input of images, or a "
            "symbolic tensor computed from one. To run the model on data, call the model."
        )
    check_input_shape(tensor.shape[1:])
    if not keras.backend.is_float_dtype(tensor.dtype):
        raise ValueError(
            f"input_tensor has dtype {tensor.dtype}; expected floats in [-1, 1]. Put "
            "bit_keras.preprocess_input(tensor) before the network."
        )
    sources = keras.utils.get_source_inputs(tensor)
    if len(sources) != 1:
        raise ValueError(
            f"input_tensor is computed from {len(sources)} inputs; expected one. Build the network "
            "without input_tensor, and call the network on the tensor, as a layer."
        )
    return sources[0]


def check_channels_last() -> None:
    """Raises a ValueError if Keras is configured for the data format channels_first."""
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "BiT supports image_data_format='channels_last' only, and Keras is configured for "
            f"{keras.config.image_data_format()!r}. Call "
            "keras.config.set_image_data_format('channels_last') before building the model."
        )

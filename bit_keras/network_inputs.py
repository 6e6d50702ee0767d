"""What images a network takes and what classes it tells apart, checked before it is built."""

from collections.abc import Sequence
from numbers import Integral

import keras


def is_integer(value) -> bool:
    """Whether it is an integer, of Python's or numpy's; a bool is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_positive_integer(value) -> bool:
    """Whether it is an integer of at least 1, of Python's or numpy's."""
    return is_integer(value) and value > 0


def check_classes(classes) -> None:
    """Raises a ValueError unless `classes` can be the size of a head."""
    if not is_positive_integer(classes):
        raise ValueError(
            f"classes={classes!r}: expected the size of the head, an integer of at least 1. "
            "For a model without a head pass include_top=False."
        )


def check_input_shape(input_shape) -> None:
    """Raises a ValueError unless it is `(height or None, width or None, channels)`."""
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
    """Returns the one `keras.Input` that a tensor of images is computed from."""
    if not keras.utils.is_keras_tensor(tensor):
        raise ValueError(
            f"input_tensor is a {type(tensor).__name__}; expected a keras.Input of images, or a "
            "symbolic tensor computed from one. To run the model on data, call it."
        )
    check_input_shape(tensor.shape[1:])
    if not keras.backend.is_float_dtype(tensor.dtype):
        raise ValueError(
            f"input_tensor has dtype {tensor.dtype}; expected a float, in [-1, 1]. Put "
            "bit_keras.preprocess_input(tensor) before the network."
        )
    sources = keras.utils.get_source_inputs(tensor)
    if len(sources) != 1:
        raise ValueError(
            f"input_tensor is computed from {len(sources)} inputs; expected one. Build the network "
            "without it and call it on the tensor, as a layer."
        )
    return sources[0]


def check_channels_last() -> None:
    """Raises a ValueError where Keras is configured for channels first."""
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "BiT supports image_data_format='channels_last' only, and Keras is configured for "
            f"{keras.config.image_data_format()!r}. Call "
            "keras.config.set_image_data_format('channels_last') before building the model."
        )

"""ResNet-v2 with group normalization and weight standardization: the network of Big Transfer.

    root    pad 3, 7x7/2 convolution, pad 1, 3x3/2 max-pool
    block   depths[i] units; the first halves the resolution, but not in block 1
    unit    x -> GN+ReLU -> 1x1 -> GN+ReLU -> 3x3 (stride here) -> GN+ReLU -> 1x1 -> + shortcut
            shortcut: x, or a 1x1 convolution of the first GN+ReLU where the shape changes
    end     GN+ReLU -> global average pool -> dense head, logits

Every convolution is weight-standardized and without bias. All padding is explicit zeros and
symmetric: "same" is neither at stride 2, and a max-pool's own padding is not zeros.
Source: Big Transfer (arXiv 1912.11370), section 3.2; its official code, `tf2_keras/models.py`.
"""

from collections.abc import Sequence
from numbers import Integral, Real

import keras
from keras import layers

from bit_keras.distributed_model import Model
from bit_keras.layers import GroupNormalization, StandardizedConv2D

BLOCK_STRIDES = (1, 2, 2, 2)
ROOT_FILTERS = 64  # times the width; block i has mid filters of ROOT_FILTERS * 2**i
EXPANSION = 4  # output channels of a unit over its mid filters
GROUPS = 32


@keras.saving.register_keras_serializable(package="bit_keras")
class ResNetV2(Model):
    """A BiT ResNet-v2 of any depth and width, as a functional graph.

    Args:
        depths: units in each of the four blocks, each at least 1: (3, 4, 6, 3) is R50.
        width: factor of all channels; `64 * width` is a multiple of 32, so 0.5 or more.
        classes: size of the head, a dense layer that starts from zeros. Ignored without a top.
        include_top: whether the model ends in the head (logits) or in features.
        input_shape: `(height, width, channels)`; height and width may be None. channels_last only.
        input_tensor: a `keras.Input`, or a tensor computed from one, to build on instead.
        pooling: without a top, "avg" gives `[batch, 2048 * width]`, None the map
            `[batch, height / 32, width / 32, 2048 * width]` after the last GN+ReLU.
        classifier_activation: of the head; None gives logits.
        kernel_regularizer: of all kernels, the head's too; it sees the kernels as stored, before
            they are standardized.
        dtype: a Keras dtype policy. Pooled features and logits are float32 under every policy
            (float64 under "float64").
        name: of the model.

    Input: RGB in [-1, 1], `[batch, height, width, channels]` (see `bit_keras.preprocess_input`).

    Attributes:
        endpoints: dict of KerasTensors: root, block1 ... block4 (the output of each block),
            pre_head (after the last GN+ReLU), features (pooled) and, with a top, logits.
        unit_boundaries: tuple of KerasTensors, the input of the first unit and the output of
            each: between two of them nothing else flows, so a unit can be rematerialized alone.
        pyramid_outputs: dict of KerasTensors "P2" ... "P5", strides 4 to 32 (keras-hub's name).
        pyramid_level_inputs: dict of the layers' names that give them (keras-cv's).

    Raises:
        ValueError: for an argument out of its range, named with what was expected.

    Example:

    >>> model = ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=10)
    >>> model(keras.ops.zeros((1, 32, 32, 3))).shape
    TensorShape([1, 10])
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 6, 3),
        width: float = 1,
        classes: int = 1000,
        include_top: bool = True,
        input_shape: Sequence[int | None] = (None, None, 3),
        input_tensor=None,
        pooling: str | None = "avg",
        classifier_activation=None,
        kernel_regularizer=None,
        dtype=None,
        name: str | None = None,
    ):
        _check_depths(depths)
        _check_width(width)
        _check_pooling(pooling)
        _check_channels_last()
        if include_top:
            check_classes(classes)
            classes = int(classes)
        policy = keras.dtype_policies.get(dtype)
        kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        classifier_activation = keras.activations.get(classifier_activation)
        # Images, the mean over the map and logits would lose digits in half precision.
        at_least_float32 = keras.backend.result_type(policy.compute_dtype, "float32")
        if input_tensor is None:
            check_input_shape(input_shape)
            shape = [None if size is None else int(size) for size in input_shape]
            input_tensor = keras.Input(shape, dtype=at_least_float32, name="images")
        source = _check_input_tensor(input_tensor)

        endpoints, boundaries = _Body(width, kernel_regularizer, policy).build(input_tensor, depths)
        features = layers.GlobalAveragePooling2D(dtype=at_least_float32, name="features")
        endpoints["features"] = features(endpoints["pre_head"])
        if include_top:
            head = layers.Dense(
                classes,
                activation=classifier_activation,
                kernel_initializer="zeros",
                kernel_regularizer=kernel_regularizer,
                dtype=at_least_float32,
                name="head_conv2d",
            )
            endpoints["logits"] = head(endpoints["features"])
        last = "logits" if include_top else _ENDPOINT_OF_POOLING[pooling]
        super().__init__(inputs=source, outputs=endpoints[last], name=name)
        self.dtype_policy = policy

        self.endpoints = endpoints
        self.unit_boundaries = boundaries
        self.pyramid_outputs = {f"P{i + 1}": endpoints[f"block{i}"] for i in (1, 2, 3, 4)}
        self.pyramid_level_inputs = {
            f"P{i + 1}": f"block{i}_unit{depth:02d}_add" for i, depth in enumerate(depths, start=1)
        }

        # Plain numbers, for a configuration that JSON can hold.
        self.depths = tuple(int(depth) for depth in depths)
        self.width = int(width) if width == int(width) else float(width)
        self.classes = classes
        self.include_top = include_top
        self.pooling = pooling
        self.classifier_activation = classifier_activation
        self.kernel_regularizer = kernel_regularizer
        self._start = input_tensor

    def freeze(self, up_to: str | None) -> None:
        """Freezes the layers up to an endpoint and frees all that come after it.

        Layers before an `input_tensor` are left as they are. Compile the model again afterwards,
        as after every change of `trainable`.

        Args:
            up_to: a key of `endpoints`, or None to free every layer.

        Raises:
            ValueError: for an endpoint that the model does not have.

        Example:

        >>> model = ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=10)
        >>> model.freeze("features")
        >>> [weight.name for weight in model.trainable_weights]
        ['kernel', 'bias']
        """
        if up_to is not None and (not isinstance(up_to, str) or up_to not in self.endpoints):
            raise ValueError(
                f"freeze(up_to={up_to!r}): the model has no such endpoint. Expected None or one of "
                f"{', '.join(self.endpoints)}."
            )
        frozen = []
        if up_to is not None:
            frozen = keras.Function(self._start, self.endpoints[up_to]).operations
        self.trainable = True
        # One by one: a model that is trainable already passes nothing on to its layers.
        for layer in keras.Function(self._start, self.output).operations:
            layer.trainable = layer not in frozen

    def get_config(self) -> dict:
        if self._start is not self.input:
            raise ValueError(
                f"Model {self.name!r} was built on an input_tensor that other layers compute, "
                "which its configuration does not hold. Save the graph around it instead: "
                "bit_keras.Model(model.input, model.output)."
            )
        return {
            "name": self.name,
            "depths": list(self.depths),
            "width": self.width,
            "classes": self.classes,
            "include_top": self.include_top,
            "input_shape": list(self.input_shape[1:]),
            "pooling": self.pooling,
            "classifier_activation": keras.activations.serialize(self.classifier_activation),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "trainable": self.trainable,
            "frozen_layers": [layer.name for layer in self.layers if not layer.trainable],
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        config = dict(config)
        trainable, frozen = config.pop("trainable", True), config.pop("frozen_layers", ())
        model = cls(**config)
        model.trainable = trainable
        for name in frozen:
            model.get_layer(name).trainable = False
        return model


_ENDPOINT_OF_POOLING = {"avg": "features", None: "pre_head"}


class _Body:
    """The network without its head. Names are the official checkpoints', with _ for /."""

    def __init__(self, width, kernel_regularizer, policy):
        self.root_filters = int(ROOT_FILTERS * width)
        self.kernel_regularizer = kernel_regularizer
        self.policy = policy

    def convolution(self, x, filters, kernel_size, stride, prefix):
        # At stride 1 "same" is the symmetric zero padding, without a padded copy of the input.
        if stride > 1 and kernel_size > 1:
            x = self.pad(x, kernel_size // 2, prefix)
        return StandardizedConv2D(
            filters,
            kernel_size,
            strides=stride,
            padding="same" if stride == 1 else "valid",
            use_bias=False,
            kernel_initializer="he_normal",
            kernel_regularizer=self.kernel_regularizer,
            dtype=self.policy,
            name=f"{prefix}_standardized_conv2d",
        )(x)

    def pad(self, x, amount, prefix):
        return layers.ZeroPadding2D(amount, dtype=self.policy, name=f"{prefix}_pad")(x)

    def norm_relu(self, x, prefix=""):
        name = f"{prefix}group_norm"
        return GroupNormalization(GROUPS, activation="relu", dtype=self.policy, name=name)(x)

    def root(self, x):
        x = self.convolution(x, self.root_filters, 7, 2, "root_block")
        x = self.pad(x, 1, "root_block_pool")
        return layers.MaxPooling2D(3, 2, dtype=self.policy, name="root_block_pool")(x)

    def unit(self, x, filters, stride, prefix):
        preactivation = self.norm_relu(x, f"{prefix}_a_")
        shortcut = x
        if stride > 1 or x.shape[-1] != EXPANSION * filters:
            shortcut = self.convolution(
                preactivation, EXPANSION * filters, 1, stride, f"{prefix}_a_proj"
            )
        y = self.convolution(preactivation, filters, 1, 1, f"{prefix}_a")
        y = self.convolution(self.norm_relu(y, f"{prefix}_b_"), filters, 3, stride, f"{prefix}_b")
        y = self.convolution(
            self.norm_relu(y, f"{prefix}_c_"), EXPANSION * filters, 1, 1, f"{prefix}_c"
        )
        return layers.Add(dtype=self.policy, name=f"{prefix}_add")([shortcut, y])

    def build(self, x, depths):
        """Returns the endpoints, as a dict, and the boundaries of the units, as a tuple."""
        x = self.root(x)
        endpoints, boundaries = {"root": x}, [x]
        for block, (depth, stride) in enumerate(zip(depths, BLOCK_STRIDES, strict=True)):
            for unit in range(depth):
                x = self.unit(
                    x,
                    filters=self.root_filters * 2**block,
                    stride=stride if unit == 0 else 1,
                    prefix=f"block{block + 1}_unit{unit + 1:02d}",
                )
                boundaries.append(x)
            endpoints[f"block{block + 1}"] = x
        endpoints["pre_head"] = self.norm_relu(x)
        return endpoints, tuple(boundaries)


def _is_positive_integer(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def check_classes(classes) -> None:
    """Raises a ValueError unless `classes` can be the size of a head."""
    if not _is_positive_integer(classes):
        raise ValueError(
            f"classes={classes!r}: expected the size of the head, an integer of at least 1. "
            "For a model without a head pass include_top=False."
        )


def _check_input_tensor(tensor):
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


def check_input_shape(input_shape) -> None:
    """Raises a ValueError unless it is `(height or None, width or None, channels)`."""
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) else (input_shape,)
    if len(shape) != 3 or not all(size is None or _is_positive_integer(size) for size in shape):
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


def _check_channels_last() -> None:
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "BiT supports image_data_format='channels_last' only, and Keras is configured for "
            f"{keras.config.image_data_format()!r}. Call "
            "keras.config.set_image_data_format('channels_last') before building the model."
        )


def _check_depths(depths) -> None:
    count = len(depths) if hasattr(depths, "__len__") else 0
    if count != len(BLOCK_STRIDES) or not all(map(_is_positive_integer, depths)):
        raise ValueError(
            f"depths={depths!r}: expected the number of units in each of the four blocks, "
            "integers of at least 1, such as (3, 4, 6, 3)."
        )


def _check_width(width) -> None:
    is_number = isinstance(width, Real) and not isinstance(width, bool)
    if not is_number or width <= 0 or (ROOT_FILTERS * width) % GROUPS:
        raise ValueError(
            f"width={width!r}: expected a positive factor that makes {ROOT_FILTERS} * width a "
            f"multiple of the {GROUPS} groups, such as 0.5, 1, 1.5 or 3."
        )


def _check_pooling(pooling) -> None:
    if pooling not in list(_ENDPOINT_OF_POOLING):
        raise ValueError(
            f"pooling={pooling!r}: expected 'avg' (pooled features) or None (the feature map)."
        )

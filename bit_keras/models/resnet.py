"""ResNet-v2 with group normalization and weight standardization: the network of Big Transfer.

    root    pad 3, 7x7/2 convolution, pad 1, 3x3/2 max-pool
    block   depths[i] units; the first halves the resolution, but not in block 1
    unit    x -> GN+ReLU -> 1x1 -> GN+ReLU -> 3x3 (with the stride) -> GN+ReLU -> 1x1 -> + shortcut
            shortcut: x, or a 1x1 convolution of the first GN+ReLU where the shape changes
    end     GN+ReLU -> global average pool -> dense head, logits

Every convolution is weight-standardized and has no bias. All padding is symmetric and adds zeros.
At stride 2 the padding is a layer of its own, because padding="same" is asymmetric there and a
max-pool does not pad with zeros.
Source: Big Transfer (arXiv 1912.11370), section 3.2; its official code, `tf2_keras/models.py`.
"""

import functools
from collections.abc import Sequence

import keras
from keras import layers

from bit_keras.layers.group_normalization import GroupNormalization
from bit_keras.layers.standardized_conv2d import StandardizedConv2D
from bit_keras.models import argument_checks as checks
from bit_keras.models import task_record
from bit_keras.models.layer_changes import LayerMaker, later_changes, with_later_changes
from bit_keras.models.model import Model
from bit_keras.models.rematerialization import steps
from bit_keras.utils import keras_internals

BLOCK_STRIDES = (1, 2, 2, 2)

# The root convolution has ROOT_FILTERS * width filters. The first two convolutions of each unit in
# block i (counted from 0) have 2**i times that number.
ROOT_FILTERS = 64

# A unit has EXPANSION times as many output channels as filters in its 3x3 convolution.
EXPANSION = 4

GROUPS = 32

# The settings of batch normalization are those of keras.applications.ResNet50V2, because BiT itself
# has no batch normalization.
BATCH_MOMENTUM = 0.99
BATCH_EPSILON = 1.001e-5

# Maps the argument `standardize` to the class of the convolutions and the end of their names.
_CONVOLUTIONS = {
    True: (StandardizedConv2D, "standardized_conv2d"),
    False: (layers.Conv2D, "conv2d"),
}


class _Body:
    """Builds a ResNet-v2 without its classification head.

    Layer names are those of the official checkpoints, with "_" in place of "/".
    """

    def __init__(self, make, width, normalization, standardize, kernel_regularizer, policy):
        self.layer = functools.partial(make, dtype=policy)
        self.root_filters = int(ROOT_FILTERS * width)
        self.normalization = normalization
        self.standardize = standardize
        self.kernel_regularizer = kernel_regularizer

    def convolution(self, x, filters, kernel_size, stride, prefix):
        # At stride 1, padding="same" is symmetric zero padding and makes no padded copy of the
        # input, so only convolutions with a larger stride need a padding layer.
        if stride > 1 and kernel_size > 1:
            x = self.pad(x, kernel_size // 2, prefix)
        layer, suffix = _CONVOLUTIONS[self.standardize]
        return self.layer(
            layer,
            filters,
            kernel_size,
            strides=stride,
            padding="same" if stride == 1 else "valid",
            use_bias=False,
            kernel_initializer="he_normal",
            kernel_regularizer=self.kernel_regularizer,
            name=f"{prefix}_{suffix}",
        )(x)

    def pad(self, x, amount, prefix):
        return self.layer(layers.ZeroPadding2D, amount, name=f"{prefix}_pad")(x)

    def norm_relu(self, x, prefix=""):
        if self.normalization == "group":
            name = f"{prefix}group_norm"
            return self.layer(GroupNormalization, GROUPS, activation="relu", name=name)(x)
        x = self.layer(
            layers.BatchNormalization,
            momentum=BATCH_MOMENTUM,
            epsilon=BATCH_EPSILON,
            name=f"{prefix}batch_norm",
        )(x)
        return self.layer(layers.ReLU, name=f"{prefix}relu")(x)

    def root(self, x):
        x = self.convolution(x, self.root_filters, 7, 2, "root_block")
        x = self.pad(x, 1, "root_block_pool")
        return self.layer(layers.MaxPooling2D, 3, 2, name="root_block_pool")(x)

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
        return self.layer(layers.Add, name=f"{prefix}_add")([shortcut, y])

    def build(self, x, depths):
        """Builds all layers; returns the named outputs of blocks, and the outputs of all units."""
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


# The names of the outputs at which `rematerialize("block")` cuts the network.
_BLOCK_BOUNDARIES = ("root", "block1", "block2", "block3", "block4")

# Maps each level of the feature pyramid, P2 to P5, to the beginning of the name of its output
# layer. That layer is the first GN+ReLU of the next block, or the GN+ReLU at the network's end; its
# input is the block's output. The block's output itself is a sum whose scale is not limited,
# because standardized kernels increase it with their fan-in: the first loss of examples/detect.py
# is 2140 with the blocks' outputs and 2.1 with the normalized outputs.
_PYRAMID = {"P2": "block2_unit01_a_", "P3": "block3_unit01_a_", "P4": "block4_unit01_a_", "P5": ""}

# Maps the argument `normalization` to the end of the name of a pyramid level's output layer.
_NORMALIZED = {"group": "group_norm", "batch": "relu"}

# Maps the argument `pooling` of a model without a head to the name of the model's output.
_ENDPOINT_OF_POOLING = {"avg": "features", None: "pre_head"}


@keras.saving.register_keras_serializable(package="bit_keras")
class ResNetV2(Model):
    """A BiT ResNet-v2 of any depth and width, as a functional graph.

    Args:
        depths: number of units in each of the four blocks, each at least 1; (3, 4, 6, 3) is R50.
        width: factor of all channel counts; `64 * width` must be a multiple of 32, so the smallest
            width is 0.5.
        classes: size of the head, a dense layer initialized with zeros. It is ignored if
            include_top is False.
        include_top: if True, the model ends in the head and returns logits; if False, it returns
            features.
        input_shape: `(height, width, channels)`; height and width may be None. Only channels_last
            is supported.
        input_tensor: a `keras.Input`, or a tensor computed from one, used as the input instead of
            a new `keras.Input` of input_shape.
        pooling: type of the features if include_top is False: "avg" gives pooled features
            `[batch, 2048 * width]`; None gives the map
            `[batch, height / 32, width / 32, 2048 * width]` after the last GN+ReLU.
        classifier_activation: activation of the head; None gives logits.
        kernel_regularizer: regularizer of all kernels, including the head's; it is applied to the
            stored kernels, before they are standardized.
        dtype: a Keras dtype policy. Pooled features and logits are float32 under every policy
            (float64 under "float64").
        name: name of the model.
        normalization: "group" for group normalization, or "batch" for the batch normalization of
            the original ResNet-v2. In training, batch normalization computes its statistics over
            the images of one device; in inference, it uses its moving averages.
        standardize: if True, standardize the kernels. BiT has group normalization and standardized
            kernels; a network without either has other layer names and no official weight file.

    Input: RGB in [-1, 1], `[batch, height, width, channels]` (see `bit_keras.preprocess_input`).

    Attributes:
        endpoints: dict of KerasTensors: root, block1 ... block4 (the output of each block),
            pre_head (after the last GN+ReLU), features (pooled) and, if include_top is True,
            logits.
        unit_boundaries: tuple of KerasTensors: the input of the first unit and the output of each
            unit. No other tensor passes from one unit to the next, so each unit can be
            rematerialized separately.
        pyramid_outputs: dict of KerasTensors "P2" ... "P5", with strides 4 to 32: the output of
            each block after the next GN+ReLU. The attribute has the same name in keras-hub.
        pyramid_level_inputs: dict of the names of the layers that compute `pyramid_outputs`. The
            attribute has the same name in keras-cv.
        is_rematerialized: True if `rematerialize` was called with "unit" or "block".

    Raises:
        ValueError: an argument is out of its range; the message names the argument and what was
            expected.

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
        normalization: str = "group",
        standardize: bool = True,
    ):
        checks.check_depths(depths, blocks=len(BLOCK_STRIDES))
        checks.check_width(width, ROOT_FILTERS, GROUPS)
        checks.check_pooling(pooling)
        checks.check_layers(normalization, standardize)
        checks.check_channels_last()
        if include_top:
            classes = checks.check_classes(classes)
        policy = keras.dtype_policies.get(dtype)
        kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        classifier_activation = keras.activations.get(classifier_activation)
        # Images, pooled features and logits are at least float32; half precision would lose digits.
        wide = keras.backend.result_type(policy.compute_dtype, "float32")
        maker = LayerMaker()
        if input_tensor is None:
            checks.check_input_shape(input_shape)
            shape = [None if size is None else int(size) for size in input_shape]
            options = {"shape": shape, "dtype": wide, "name": "images"}
            input_tensor = maker.make(layers.InputLayer, **options).output
        source = checks.check_input_tensor(input_tensor)
        if "images" not in maker.layers:
            maker.add_input(keras_internals.operation_of(source), wide)

        channels, size_of_head = source.shape[-1], classes if include_top else 0
        checks.check_size(depths, width, ROOT_FILTERS, channels, size_of_head)
        body = _Body(maker.make, width, normalization, standardize, kernel_regularizer, policy)
        endpoints, boundaries = body.build(input_tensor, depths)
        features = maker.make(layers.GlobalAveragePooling2D, dtype=wide, name="features")
        endpoints["features"] = features(endpoints["pre_head"])
        if include_top:
            head = maker.make(
                layers.Dense,
                classes,
                activation=classifier_activation,
                kernel_initializer="zeros",
                kernel_regularizer=kernel_regularizer,
                dtype=wide,
                name="head_conv2d",
            )
            endpoints["logits"] = head(endpoints["features"])
        last = "logits" if include_top else _ENDPOINT_OF_POOLING[pooling]
        super().__init__(inputs=source, outputs=endpoints[last], name=name)
        self.dtype_policy = policy

        self.endpoints = endpoints
        self.unit_boundaries = boundaries
        suffix = _NORMALIZED[normalization]
        pyramid = {level: maker.layers[place + suffix] for level, place in _PYRAMID.items()}
        self.pyramid_level_inputs = {level: layer.name for level, layer in pyramid.items()}
        self.pyramid_outputs = {level: layer.output for level, layer in pyramid.items()}

        # The constructor's arguments are kept apart from the attributes, because a later change of
        # an attribute does not change the network. Numpy numbers are converted for JSON.
        self._arguments = {
            "depths": tuple(int(depth) for depth in depths),
            "width": int(width) if width == int(width) else float(width),
            "classes": classes,
            "include_top": include_top,
            "pooling": pooling,
            "classifier_activation": classifier_activation,
            "kernel_regularizer": kernel_regularizer,
            "normalization": normalization,
            "standardize": standardize,
        }
        for argument, value in self._arguments.items():
            setattr(self, argument, value)
        self._policy, self._start, self.layer_maker = policy, input_tensor, maker
        self.rematerialize(None)

    def call(self, inputs, training=None, mask=None):
        if not (training and self._steps):
            return super().call(inputs, training=training, mask=mask)
        (x,) = keras_internals.standardized_inputs(self, inputs)
        for step in self._steps:
            x = step(x)
        return x

    def rematerialize(self, by: str | None) -> None:
        """Chooses which activations a training step keeps and which it computes again.

        With "unit" or "block", a training step keeps only the outputs of the units or of the
        blocks. It computes the activations inside a unit or block a second time when it computes
        their gradient. The results are the same; training takes less memory and more time.
        Inference does not change. The choice is not saved in any file, because it is a setting of
        the training and not of the network.

        Rematerialization happens in this model's `call`. A larger model built from `model.output`
        runs the layers directly and does not rematerialize. Call this model as a layer of the
        larger model instead, and call `rematerialize` before the larger model is fitted.

        Args:
            by: "unit", "block", or None to keep all activations.

        Raises:
            ValueError: `by` has another value, or the network has layers that must not be computed
                twice.

        Example:

        >>> backbone = ResNetV2(depths=(1, 1, 1, 1), width=0.5, include_top=False)
        >>> backbone.rematerialize("unit")
        >>> inputs = keras.Input((64, 64, 3))
        >>> model = Model(inputs, keras.layers.Dense(5)(backbone(inputs)))
        """
        boundaries = {
            None: (),
            "unit": self.unit_boundaries,
            "block": tuple(self.endpoints[name] for name in _BLOCK_BOUNDARIES),
        }
        if by not in list(boundaries):
            raise ValueError(
                f"rematerialize({by!r}): expected 'unit' or 'block', the parts whose activations "
                "are computed again, or None."
            )
        self._steps = steps(self.input, boundaries[by], self.output)
        self.is_rematerialized = by is not None
        self.train_function = None

    def freeze(self, up_to: str | None) -> None:
        """Freezes all layers up to an endpoint, such as "block2"; makes all later layers trainable.

        Layers before an `input_tensor` do not change. Compile the model again after this call, as
        after every change of `trainable`.

        Args:
            up_to: a key of `endpoints`, or None to make every layer trainable.

        Raises:
            ValueError: the model has no endpoint of this name.

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
        end = self.endpoints.get(up_to)
        frozen = [] if end is None else keras.Function(self._start, end).operations
        self.trainable = True
        # `trainable` is set for each layer, because setting it on a model that is already trainable
        # does not change the model's layers.
        for layer in keras.Function(self._start, self.output).operations:
            layer.trainable = layer not in frozen

    def get_config(self) -> dict:
        if self._start is not self.input:
            raise ValueError(
                f"Model {self.name!r} was built on an input_tensor that other layers compute. Its "
                "configuration does not contain these layers. Save the whole graph instead: "
                "bit_keras.Model(model.input, model.output)."
            )
        arguments = self._arguments
        return {
            "name": self.name,
            **arguments,
            "depths": list(arguments["depths"]),
            "input_shape": list(self.input_shape[1:]),
            "classifier_activation": keras.activations.serialize(
                arguments["classifier_activation"]
            ),
            "kernel_regularizer": keras.regularizers.serialize(arguments["kernel_regularizer"]),
            "dtype": keras.dtype_policies.serialize(self._policy),
            **later_changes(self),
            **task_record.config_of(self),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        config, record = task_record.taken_from(config)
        return task_record.with_record(with_later_changes(cls, config), record)

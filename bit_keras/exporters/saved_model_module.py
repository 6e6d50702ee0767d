"""The `tf.Module` of an exported SavedModel: its callable root object and its signatures."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

from bit_keras.data.decoding import decode
from bit_keras.data.tasks import WHITE
from bit_keras.data.transforms import preprocess
from bit_keras.exporters.image_size_limit import limited
from bit_keras.exporters.outputs import Outputs, to_range
from bit_keras.layers.standardized_conv2d import StandardizedConv2D
from bit_keras.layers.tracing import for_other_programs, saving_gradients
from bit_keras.models.layer_changes import custom_objects_of
from bit_keras.utils.keras_internals import SafeModeScope

# The signature `serving_bytes` of an exported model returns the 5 most probable classes.
TOP_CLASSES = 5


@dataclass(frozen=True)
class Serving:
    """The options of an exported module: input range, image size, class names, frozen or not.

    Attributes:
        input_range: the values of black and white in the images that the module takes.
        image_size: height and width in pixels to which `serving_bytes` resizes images.
        class_names: the names of a classifier's classes, in order.
        frozen: if True, the module is for serving only and has no trainable variables.
        background: red, green and blue, 0 to 255, of the colour that `serving_bytes` puts behind
            transparent pixels.
    """

    input_range: tuple[float, float]
    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    frozen: bool
    background: tuple[int, int, int] = WHITE


class ExportedModule(tf.Module):
    """The callable root object of an exported SavedModel.

    Args:
        model: the network; the module uses its variables without copying them.
        outputs: the kind of the model's output.
        serving: the options of serving.
        description: the JSON text that `describe()` returns.
        assets: paths of files that are copied into the SavedModel.
    """

    # These attributes are set explicitly, because tf.Module itself would list as trainable also
    # variables that are frozen in Keras.
    variables = trainable_variables = regularization_losses = ()

    def __init__(
        self,
        model: keras.Model,
        outputs: Outputs,
        serving: Serving,
        description: str,
        assets: list[str],
    ):
        super().__init__()
        weights = [variable.value for variable in model.variables]
        trainable = [] if serving.frozen else model.trainable_variables
        self.variables = [] if serving.frozen else weights
        self.trainable_variables = [variable.value for variable in trainable]
        self.regularization_losses = [
            _loss_function(variable) for variable in trainable if variable.regularizer is not None
        ]
        # The weights of a frozen network stay variables, which TensorFlow saves because this
        # attribute holds them. As constants of the graph, they would make inference a tenth faster
        # for a batch of 1 image (R50x1, two cores) and a fiftieth faster for a batch of 8. But each
        # function would hold its own copy of the constants: loading and calling 0.1 GB of weights
        # took 3 GB of memory, and a graph cannot hold 2 GB of constants.
        self._weights = weights
        self.assets = [tf.saved_model.Asset(path) for path in assets]
        self._output_kind, self._serving, self._description = outputs, serving, description
        self._images = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="images")
        self._network = _network_function(model, outputs, serving, self._images)
        for training in (False, True):
            self.__call__.get_concrete_function(self._images, training=training)

    @tf.function(autograph=False)
    def __call__(self, images, training=False):
        images = to_range(self._checked(images), self._serving.input_range)
        return self._network(images, training)[0]

    @tf.function(autograph=False, input_signature=[])
    def describe(self):
        return tf.constant(self._description)

    def _checked(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the images; running the graph fails if there are none or their shape is wrong."""
        if for_other_programs.is_on():
            return images
        # An empty batch is refused, because TensorFlow's convolutions return a wrong shape for it.
        # A signature of TensorFlow does not check the shape of its images itself.
        shape, side = tf.shape(images), [-1 if n is None else n for n in self._images.shape]
        fits = tf.reduce_all((shape > 0) & ((shape == side) | tf.equal(side, -1)))
        message = (
            "Expected at least one image of at least one pixel, in the shape "
            f"{self._images.shape}; got the shape"
        )
        has_pixels = tf.debugging.Assert(fits, [message, shape])
        with tf.control_dependencies([has_pixels]):
            return tf.identity(images)

    def signatures(self) -> dict[str, Callable]:
        """Returns the functions of the SavedModel's signatures by the names of the signatures."""

        def serving_default(images):
            images = to_range(self._checked(images), self._serving.input_range)
            return {self._output_kind.name: self._network(images, False)[0]}

        def features(images):
            images = to_range(self._checked(images), self._serving.input_range)
            return {"features": self._network(images, False)[1]}

        def serving_bytes(images):
            return self._classify(limited(images))

        functions = {
            serving_default: self._images,
            features: self._images,
            serving_bytes: tf.TensorSpec([None], tf.string, name="images"),
        }
        if not self._output_kind.names_classes:
            del functions[serving_bytes]
        return {
            function.__name__: tf.function(function, autograph=False, input_signature=[spec])
            for function, spec in functions.items()
        }

    def _classify(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        images, is_image = decode_batch(encoded, self._serving.image_size, self._serving.background)
        # An image of zeros is added to an empty batch, because TensorFlow's convolutions return a
        # wrong shape for an empty batch. tf.pad is not used for this, because TensorFlow's graph
        # optimizer would drop a tf.pad before a convolution.
        added = tf.zeros([tf.cast(tf.equal(tf.size(encoded), 0), tf.int32), *images.shape[1:]])
        output = self._network(tf.concat([images, added], axis=0), False)[0]
        probabilities = self._output_kind.probabilities(output[: tf.size(encoded)])
        best = tf.math.top_k(probabilities, min(TOP_CLASSES, self._output_kind.classes))
        is_image = is_image[:, tf.newaxis]
        return {
            "classes": tf.where(is_image, tf.cast(best.indices, tf.int64), -1),
            "probabilities": tf.where(is_image, best.values, 0.0),
            "names": tf.where(
                is_image, tf.gather(tf.constant(self._serving.class_names), best.indices), ""
            ),
        }


def _network_function(
    model: keras.Model, outputs: Outputs, serving: Serving, spec: tf.TensorSpec
) -> Callable:
    """Returns the network as a function `(images in [-1, 1], training) -> (output, features)`.

    All functions of the module call the same concrete graph for each value of `training`, so each
    graph is traced and written once.
    """

    def concrete(training: bool) -> Callable:
        def network(images):
            return outputs.run(images, training=training)

        function = tf.function(network, autograph=False, input_signature=[spec])
        # The layers' custom gradients are saved with the graph. Without them, the loaded module
        # would compute gradients by other operations, which round differently.
        with contextlib.nullcontext() if serving.frozen else saving_gradients.on():
            return function.get_concrete_function()

    inference = concrete(training=False)
    graphs = {False: inference, True: inference if serving.frozen else concrete(training=True)}
    return lambda images, training: graphs[training](images)


def _loss_function(variable: keras.Variable) -> Callable:
    # The function is defined here and not in a loop over variables, because all functions defined
    # in such a loop would use the loop's last variable.
    @tf.function(autograph=False, input_signature=[])
    def loss():
        return tf.cast(variable.regularizer(variable), tf.float32)

    return loss


def decode_batch(
    encoded: tf.Tensor, size: tuple[int, int], background: tuple[int, int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes and resizes images as for a test, and tells which of the strings are images.

    The images that `data.decoding.decode` reads without Pillow are resized bilinearly without
    antialiasing. A truncated file, and a file that only Pillow reads, do not count as images.

    Args:
        encoded: strings, `[batch]`.
        size: height and width in pixels.
        background: red, green and blue of the colour behind transparent pixels.

    Returns:
        The images, float32 `[batch, height, width, 3]` in [-1, 1], with zeros for elements that are
        not images; and bool `[batch]`, which is True for images.
    """

    def read(position: tf.Tensor, element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = decode(element, background, use_pillow=False)
        image = tf.image.resize(image, size, method="bilinear", antialias=False)
        return position, preprocess(image)

    # A decoding error would stop the whole graph. Only tf.data can ignore the error, because it
    # runs `map` as a separate graph for each element.
    count = tf.size(encoded, out_type=tf.int64)
    elements = tf.data.Dataset.from_tensor_slices(encoded).enumerate()
    images = elements.map(read, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    # An image of zeros is always appended, because get_single_element() fails if a dataset has no
    # batch.
    last = tf.data.Dataset.from_tensors((count, tf.zeros([*size, 3])))
    positions, images = images.concatenate(last).batch(count + 1).get_single_element()
    positions = positions[:-1, tf.newaxis]
    return (
        tf.scatter_nd(positions, images[:-1], [count, *size, 3]),
        tf.scatter_nd(positions, tf.ones_like(positions[:, 0]), [count]) > 0,
    )


def frozen_copy(model: keras.Model) -> keras.Model:
    """Returns a copy of a functional model with a `Conv2D` for each `StandardizedConv2D`.

    The kernels of the copy are the standardized kernels; all other weights are the same.
    """
    copy = keras.models.clone_model(model, clone_function=_plain_layer, recursive=True)
    _copy_weights(model, copy)
    return copy


def copied_layer(layer: keras.layers.Layer, cls: type | None = None) -> keras.layers.Layer:
    """Makes a layer from the configuration of `layer`, of the same class or of the class `cls`."""
    # Safe mode is off and unregistered functions are allowed. This loads no untrusted code, because
    # the function of a Lambda layer is already in memory.
    with SafeModeScope(False), keras.saving.custom_object_scope(custom_objects_of(layer)):
        return (cls or type(layer)).from_config(layer.get_config())


def _plain_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    if not isinstance(layer, StandardizedConv2D):
        return copied_layer(layer)
    config = layer.get_config()
    # Kernels are stored in the compute dtype, so that they need no cast at each call; in half
    # precision, the file is half as large.
    config["dtype"] = layer.compute_dtype
    # The settings of standardization and of LoRA are dropped, because the copied kernel is already
    # standardized and contains LoRA's update.
    for key in ("epsilon", "lora_rank", "lora_alpha"):
        config.pop(key, None)
    return keras.layers.Conv2D.from_config(config)


def _copy_weights(source: keras.Model, copy: keras.Model) -> None:
    for layer, twin in zip(source.layers, copy.layers, strict=True):
        if isinstance(layer, StandardizedConv2D):
            twin.kernel.assign(layer.standardized_kernel())
            if layer.use_bias:
                twin.bias.assign(layer.bias)
        elif isinstance(layer, keras.Model):
            _copy_weights(layer, twin)
        else:
            for variable, other in zip(layer.variables, twin.variables, strict=True):
                other.assign(variable)

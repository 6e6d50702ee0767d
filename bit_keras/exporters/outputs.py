"""Finds out whether a functional model outputs logits, probabilities, features or a feature map."""

from dataclasses import dataclass, replace

import keras
from keras import activations, layers

from bit_keras.models.last_operation import separate_activation
from bit_keras.models.pixel_range import NETWORK_RANGE, pixel_range
from bit_keras.utils.keras_internals import inputs_of_operation, is_graph, operation_of

# Maps the activation of a classifier's last layer to the kind of its output.
_OUTPUT_OF_ACTIVATION = {
    activations.linear: "logits",
    activations.softmax: "probabilities",
    activations.sigmoid: "probabilities",
}


# The number of classes of ImageNet-21k. Its images have several labels, so its networks were
# trained with a sigmoid for each class (arXiv 1912.11370, section 3.1).
# `bit_keras.decode_predictions` also uses a sigmoid for these classes.
_MULTI_LABEL_CLASSES = 21_843


@dataclass(frozen=True)
class Outputs:
    """The kind of a model's output, and the models that compute the output and the features.

    Attributes:
        name: "logits" or "probabilities" of a classifier, `[batch, classes]`; "features",
            `[batch, channels]`; or "feature_map", `[batch, height, width, channels]`.
        classes: the number of classes of a classifier, or None for other models.
        activation: an activation layer or operation, such as Softmax, that follows a nested model
            at the end, or None.
        model_range: the values of black and white in the images that the model itself takes.
        stages: functional graphs to be run one after the other; there are several if a model is
            nested in another one. The last graph returns the output and the features. The features
            are the input of a classifier's last dense layer, or the output itself of other models.
    """

    name: str
    classes: int | None
    stages: tuple[keras.Model, ...]
    activation: keras.Operation | None = None
    model_range: tuple[float, float] = NETWORK_RANGE

    @property
    def names_classes(self) -> bool:
        """True for a classifier of two or more classes, whose largest outputs are its predictions.

        False for a single output value that distinguishes two classes, because its index is
        always 0.
        """
        return self.classes is not None and self.classes > 1

    def probabilities(self, output):
        """Converts a classifier's output to probabilities, `[batch, classes]`."""
        if self.name == "probabilities":
            return output
        if self.classes == _MULTI_LABEL_CLASSES:
            return keras.ops.sigmoid(output)
        return keras.ops.softmax(output)

    def run(self, images, training: bool):
        """Returns the model's output and its pooled features, both float32.

        Args:
            images: float32 RGB images in [-1, 1], which become the model's own range here.
            training: if True, the model runs as in a training step.
        """
        images = to_range(images, NETWORK_RANGE, self.model_range)
        for stage in self.stages[:-1]:
            images = stage(images, training=training)
        output, features = self.stages[-1](images, training=training)
        if self.activation is not None:
            output = self.activation(output)
        output, features = keras.ops.cast(output, "float32"), keras.ops.cast(features, "float32")
        if len(features.shape) == 4:
            features = keras.ops.mean(features, axis=(1, 2))
        return output, features


def to_range(images, given: tuple[float, float], wanted: tuple[float, float] = NETWORK_RANGE):
    """Converts images from one range of pixel values, `given`, to another one, `wanted`."""
    if tuple(given) == tuple(wanted):
        return images
    (low, high), (black, white) = given, wanted
    images = (images - (low + high) / 2) / ((high - low) / 2)
    if (black, white) == NETWORK_RANGE:
        return images
    return images * ((white - black) / 2) + (black + white) / 2


def outputs_of(model: keras.Model, model_range: tuple[float, float] | None = None) -> Outputs:
    """Describes the output of a functional model: its kind, its classes and its features.

    A classifier is a model that ends in a `Dense` layer with no activation, softmax or sigmoid. The
    activation may also be a separate `Activation` or `Softmax` layer, or `keras.ops.softmax` or
    `sigmoid`, after the `Dense` layer. The outputs of all other models are features.

    Args:
        model: the model.
        model_range: the values of black and white in the images that the model itself takes. None
            finds them from the layers that scale the images.

    Raises:
        ValueError: the model is not functional, or its output is not one tensor of 2 or 4
            dimensions, or its layers do something else to pixels than to scale them to [-1, 1].
    """
    outputs = _outputs_of(model)
    found = pixel_range(model) if model_range is None else tuple(model_range)
    if found is None:
        raise ValueError(
            f"Model {model.name!r} has layers in front of the network that change the values of "
            "pixels, and the range of pixels that they expect is not known: they map none of the "
            "ranges from -1 to 1, 0 to 1 and 0 to 255 to the range from -1 to 1. Pass "
            "model_range=, the values of black and white in the images that the model was trained "
            "on, so that the exported model does not scale images twice."
        )
    return replace(outputs, model_range=found)


def _outputs_of(model: keras.Model) -> Outputs:
    _check_graph(model)
    leading, graph, activation = [], model, _activation_of_a_model(model)
    last = inputs_of_operation(model.outputs[0])[0] if activation else model.outputs[0]
    while is_graph(operation_of(last)):
        leading.append(keras.Model(graph.inputs, inputs_of_operation(last)))
        graph = operation_of(last)
        last = graph.outputs[0]
    name, features = _name_and_features(graph.outputs[0])
    if activation is not None:
        name = _OUTPUT_OF_ACTIVATION[separate_activation(activation)]
    return Outputs(
        name=name,
        classes=graph.outputs[0].shape[-1] if name in _OUTPUT_OF_ACTIVATION.values() else None,
        stages=(*leading, keras.Model(graph.inputs, [graph.outputs[0], features])),
        activation=activation,
    )


def _activation_of_a_model(model):
    """Returns the activation layer after a classifier that is nested in the model, or None."""
    last = operation_of(model.outputs[0])
    kind = separate_activation(last)
    if kind not in _OUTPUT_OF_ACTIVATION:
        return None
    inner = operation_of(inputs_of_operation(model.outputs[0])[0])
    if not is_graph(inner) or len(inner.outputs) != 1:
        return None
    return last if _outputs_of(inner).name == "logits" else None


def _name_and_features(output):
    if len(output.shape) == 4:
        return "feature_map", output
    last, activation = output, activations.linear
    if (separate := separate_activation(operation_of(last))) is not None:
        activation = separate
        (last,) = inputs_of_operation(last)
    head = operation_of(last)
    if not isinstance(head, layers.Dense):
        return "features", output
    if activation is activations.linear:
        activation = head.activation
    elif head.activation is not activations.linear:
        return "features", output
    if activation not in _OUTPUT_OF_ACTIVATION:
        return "features", output
    return _OUTPUT_OF_ACTIVATION[activation], inputs_of_operation(last)[0]


def _check_graph(model) -> None:
    if not is_graph(model):
        raise ValueError(
            f"{getattr(model, 'name', model)!r} is not a functional model. Expected a "
            "bit_keras.ResNetV2, or bit_keras.Model(inputs, outputs) around one."
        )
    shapes = [tuple(output.shape) for output in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) not in (2, 4):
        raise ValueError(
            f"Model {model.name!r} has outputs of shapes {shapes}; expected one output, "
            "[batch, classes], [batch, features] or [batch, height, width, features]. Choose one: "
            f"bit_keras.Model(model.input, {_one_output(model)})."
        )


def _one_output(model) -> str:
    if isinstance(model.output, dict):
        return f"model.output[{next(iter(model.output))!r}]"
    return "model.outputs[0]"

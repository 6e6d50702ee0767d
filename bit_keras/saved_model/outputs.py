"""What a functional model gives: logits, probabilities, features or a map of features."""

from dataclasses import dataclass

import keras
from keras import activations, layers

# What a last layer with this activation gives.
_OUTPUT_OF_ACTIVATION = {
    activations.linear: "logits",
    activations.softmax: "probabilities",
    activations.sigmoid: "probabilities",
}

# Their images have several labels, so their networks were trained by the sigmoid of each class
# (arXiv 1912.11370, section 3.1), as `bit_keras.decode_predictions` knows too.
_MULTI_LABEL_CLASSES = 21_843


@dataclass(frozen=True)
class Outputs:
    """The output of a model.

    Attributes:
        name: "logits" or "probabilities" of a classifier, `[batch, classes]`; "features",
            `[batch, channels]`; or "feature_map", `[batch, height, width, channels]`.
        classes: of a classifier, else None.
        activation: a last layer behind a model that is a layer itself, such as Softmax, or None.
        stages: functional graphs to be run one after the other, more than one where a model is a
            layer of another. The last one gives the output and the features: what a classifier's
            last dense layer sees, else the output itself.
    """

    name: str
    classes: int | None
    stages: tuple[keras.Model, ...]
    activation: keras.layers.Layer | None = None

    @property
    def names_classes(self) -> bool:
        """Whether its largest values name classes: one value alone, of two classes, does not."""
        return self.classes is not None and self.classes > 1

    def probabilities(self, output):
        """Returns the probabilities of a classifier's output, both `[batch, classes]`."""
        if self.name == "probabilities":
            return output
        if self.classes == _MULTI_LABEL_CLASSES:
            return keras.ops.sigmoid(output)
        return keras.ops.softmax(output)

    def run(self, images, training: bool):
        """Returns the model's output and its pooled features, both float32."""
        for stage in self.stages[:-1]:
            images = stage(images, training=training)
        output, features = self.stages[-1](images, training=training)
        if self.activation is not None:
            output = self.activation(output)
        output, features = keras.ops.cast(output, "float32"), keras.ops.cast(features, "float32")
        if len(features.shape) == 4:
            features = keras.ops.mean(features, axis=(1, 2))
        return output, features


def outputs_of(model: keras.Model) -> Outputs:
    """Returns what a functional model gives.

    A classifier is a model that ends in a `Dense` layer, with no activation, softmax or sigmoid, or
    with such an `Activation` or `Softmax` layer behind it. All else are features.

    Raises:
        ValueError: it is not functional, or has not one output of 2 or 4 dimensions.
    """
    _check_graph(model)
    leading, graph, activation = [], model, _activation_of_a_model(model)
    last = _inputs_of_producer(model.outputs[0])[0] if activation else model.outputs[0]
    while _is_graph(_producer(last)):
        leading.append(keras.Model(graph.inputs, _inputs_of_producer(last)))
        graph = _producer(last)
        last = graph.outputs[0]
    name, features = _name_and_features(graph.outputs[0])
    if activation is not None:
        name = _OUTPUT_OF_ACTIVATION[getattr(activation, "activation", activations.softmax)]
    return Outputs(
        name=name,
        classes=graph.outputs[0].shape[-1] if name in _OUTPUT_OF_ACTIVATION.values() else None,
        stages=(*leading, keras.Model(graph.inputs, [graph.outputs[0], features])),
        activation=activation,
    )


def _activation_of_a_model(model):
    """The last layer, where it is the activation of a classifier that is a layer itself."""
    last = _producer(model.outputs[0])
    if not isinstance(last, layers.Activation | layers.Softmax):
        return None
    inner = _producer(_inputs_of_producer(model.outputs[0])[0])
    kind = getattr(last, "activation", activations.softmax)
    if not _is_graph(inner) or kind not in _OUTPUT_OF_ACTIVATION or len(inner.outputs) != 1:
        return None
    return last if outputs_of(inner).name == "logits" else None


def _name_and_features(output):
    if len(output.shape) == 4:
        return "feature_map", output
    last, activation = output, activations.linear
    if isinstance(_producer(last), layers.Activation | layers.Softmax):
        activation = getattr(_producer(last), "activation", activations.softmax)
        (last,) = _inputs_of_producer(last)
    head = _producer(last)
    if not isinstance(head, layers.Dense):
        return "features", output
    if activation is activations.linear:
        activation = head.activation
    elif head.activation is not activations.linear:
        return "features", output
    if activation not in _OUTPUT_OF_ACTIVATION:
        return "features", output
    return _OUTPUT_OF_ACTIVATION[activation], _inputs_of_producer(last)[0]


def _producer(tensor):
    return tensor._keras_history.operation


def _inputs_of_producer(tensor) -> list:
    # `operation.input` will not do: a layer that is called twice has two.
    operation, node, _ = tensor._keras_history
    return operation._inbound_nodes[node].input_tensors


def _is_graph(operation) -> bool:
    return isinstance(operation, keras.Model) and bool(getattr(operation, "inputs", None))


def _check_graph(model) -> None:
    if not _is_graph(model):
        raise ValueError(
            f"{getattr(model, 'name', model)!r} is no functional model. Expected a "
            "bit_keras.ResNetV2, or bit_keras.Model(inputs, outputs) around one."
        )
    shapes = [tuple(output.shape) for output in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) not in (2, 4):
        raise ValueError(
            f"Model {model.name!r} has outputs of shapes {shapes}; expected one, of [batch, "
            "classes], [batch, features] or [batch, height, width, features]. Choose one: "
            f"bit_keras.Model(model.input, {_one_output(model)})."
        )


def _one_output(model) -> str:
    if isinstance(model.output, dict):
        return f"model.output[{next(iter(model.output))!r}]"
    return "model.outputs[0]"

"""What users of keras.applications do by mistake gets an answer, and what is right gets none."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import images, quick, tiny

import bit_keras
from bit_keras.models.checks import check_class_weight, check_labels

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("uint8")


def flat(**arguments):
    """A head of one's own on the layers of a network."""
    backbone = tiny(include_top=False)
    outputs = keras.layers.Dense(10, **arguments)(backbone.output)
    return bit_keras.Model(backbone.input, outputs)


def nested():
    """A network as a layer of another model."""
    inputs = keras.Input((None, None, 3))
    return bit_keras.Model(inputs, keras.layers.Dense(10)(tiny(include_top=False)(inputs)))


MODELS = [tiny, flat, nested]


@pytest.mark.parametrize("network", MODELS)
@pytest.mark.parametrize("method", ["__call__", "predict", "fit", "evaluate"])
def test_pixels_straight_into_the_model(network, method):
    model = network()
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", cross_entropy)
    arguments = [np.arange(4)] if method in ("fit", "evaluate") else []
    with pytest.raises(ValueError, match=r"got uint8 images.*bit_keras\.preprocess_input"):
        getattr(model, method)(PIXELS, *arguments)


def test_pixels_from_a_dataset():
    model = tiny()
    with pytest.raises(ValueError, match="got uint8 images"):
        model.predict(tf.data.Dataset.from_tensor_slices(PIXELS).batch(2), verbose=0)


@pytest.mark.parametrize("network", MODELS)
def test_a_single_image(network):
    with pytest.raises(ValueError, match=r"shape \(32, 48, 3\); expected \[batch.*image\[None\]"):
        network()(images(32, 48, 3))
    with pytest.raises(ValueError, match=r"split their input into batches"):
        network().predict(images(32, 48, 3), verbose=0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 32, 32, 1), r"Grey images become RGB"),
        ((2, 32, 32, 4), r"RGBA images become RGB"),
        ((2, 3, 32, 32), r"looks like channels_first"),
        ((2, 32, 32, 7), r"expected \[batch, height, width, 3\]"),
    ],
)
def test_other_channels(shape, message):
    with pytest.raises(ValueError, match=message):
        tiny()(images(*shape))


def test_what_other_layers_see_first_is_theirs_to_judge():
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    model = bit_keras.Model(inputs, tiny()(bit_keras.preprocess_input(inputs)))
    model.predict(PIXELS, verbose=0)
    # Keras' own default is a float Input before a Rescaling, whatever comes.
    inputs = keras.Input((32, 32, 3))
    model = tiny(input_tensor=keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs))
    model.predict(PIXELS, verbose=0)
    tokens = keras.Input((5,))
    bit_keras.Model(tokens, keras.layers.Dense(2)(tokens)).predict(np.ones((3, 5), int), verbose=0)
    assert tiny(input_shape=(None, None, 1))(images(2, 32, 32, 1)).shape == (2, 10)


def test_a_model_that_defines_call_is_left_alone():
    class Sum(bit_keras.Model):
        def call(self, x):
            return keras.ops.sum(x, axis=(1, 2))

    assert Sum()(PIXELS).shape == (4, 3)


LOSSES = [
    "sparse_categorical_crossentropy",
    keras.losses.sparse_categorical_crossentropy,
    keras.losses.SparseCategoricalCrossentropy(),
]


def fit(model, loss, labels):
    model.compile("sgd", loss, run_eagerly=True)  # which, for one step, is quicker than a graph
    model.fit(images(4, 32, 32, 3), labels, verbose=0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", MODELS)
def test_a_loss_of_probabilities_on_logits(network, loss):
    with pytest.warns(UserWarning, match=r"takes probabilities.*from_logits=True"):
        fit(network(), loss, np.arange(4))


def test_a_loss_of_probabilities_on_one_of_two_heads():
    backbone = tiny(include_top=False)
    heads = [keras.layers.Dense(2, activation=a, name=str(a))(backbone.output) for a in
             ("softmax", None)]  # fmt: skip
    model = bit_keras.Model(backbone.input, heads)
    with pytest.warns(UserWarning, match="takes probabilities"):
        fit(model, ["sparse_categorical_crossentropy"] * 2, [np.zeros(4, int)] * 2)


def test_right_losses_are_not_warned_of():
    fit(tiny(classifier_activation="softmax"), "sparse_categorical_crossentropy", np.arange(4))
    fit(flat(activation="softmax"), "sparse_categorical_crossentropy", np.arange(4))
    fit(tiny(), keras.losses.SparseCategoricalCrossentropy(from_logits=True), np.arange(4))
    fit(tiny(), "mean_squared_error", np.zeros((4, 10)))
    fit(tiny(classes=1), keras.losses.BinaryCrossentropy(from_logits=True), np.ones(4))
    fit(tiny(), lambda y, logits: keras.ops.mean(logits, axis=-1), np.zeros((4, 10)))


SPARSE, ONE_HOT, BINARY = (
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.CategoricalCrossentropy,
    keras.losses.BinaryCrossentropy,
)


@pytest.mark.parametrize(
    ("loss", "labels", "message"),
    [
        (SPARSE, np.array([0, 3, 9, 10]), r"Labels from 0 to 10; expected 0 to 9"),
        (SPARSE, np.array([0, -1, 9, 1]), r"Labels from -1 to 9; expected 0 to 9"),
        (SPARSE, np.eye(10)[:4], r"look one-hot.*CategoricalCrossentropy"),
        (ONE_HOT, np.arange(4), r"takes \[batch, 10\].*to_categorical"),
        (ONE_HOT, np.eye(5)[:4], r"shape \(4, 5\) do not fit.*classes=10 the number of classes"),
        (BINARY, np.eye(5)[:4], r"shape \(4, 5\) do not fit"),
        (SPARSE, np.eye(5)[:4], r"shape \(4, 5\) look one-hot.*classes=10"),
        (SPARSE, np.zeros((4, 2, 2)), r"shape \(4, 2, 2\) do not fit.*integers from 0 to 9"),
        (SPARSE, np.array([0.5, 1, 2, 3]), r"have fractions, such as 0\.5; expected integers"),
        (SPARSE, np.array([np.nan, 1, 2, 3]), r"expected 0 to 9"),
        (SPARSE, [0, 1, 2, 3], r"labels are a list.*numpy\.array\(labels\)"),
        *(
            (loss, labels, r"Labels of dtype .* do not fit.*takes .*\[batch.*numpy\.unique")
            for loss in (SPARSE, ONE_HOT, BINARY)
            for labels in (
                np.array(["cat", "dog", "cat", "dog"]),
                np.array(["cat", "dog", None, 3], object),
                np.array([b"cat"] * 4),
                tf.constant(["cat"] * 4),
                np.zeros(4, complex),
            )
        ),
    ],
)
def test_labels_that_the_loss_cannot_take(loss, labels, message, network):
    with pytest.raises(ValueError, match=message):
        fit(network, loss(from_logits=True), labels)


@pytest.fixture(scope="module")
def network():
    """A network of ten classes that is never trained, because its labels are refused."""
    return quick()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(4), r"Labels of shape \(None,\) do not fit"),
        (np.array(["cat"] * 4), "Labels of dtype string do not fit"),
    ],
)
def test_labels_of_a_dataset(labels, message, network):
    network.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    data = tf.data.Dataset.from_tensor_slices((images(4, 32, 32, 3), labels)).batch(2)
    with pytest.raises(ValueError, match=message):
        network.fit(data, verbose=0)


def test_whole_numbers_of_other_dtypes_are_labels(network):
    for labels in (np.arange(4.0), np.arange(4)[:, None], np.arange(4, dtype="uint8")):
        network.compile("sgd", SPARSE(from_logits=True))
        check_labels(network, None, labels)


def test_ignored_labels_are_no_mistake():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    fit(tiny(), loss, np.array([0, 255, 9, 1]))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({0: 1.0, 10: 2.0}, r"key 10: expected class indices from 0 to 9"),
        ({-1: 1.0}, r"key -1: expected"),
        ({0.5: 1.0}, r"key 0\.5: expected"),
        ({"cat": 2.0}, r"key 'cat': expected.*Keras would ignore"),
        ([1.0] * 10, r"is of type list.*dict\(enumerate\(weights\)\)"),
        (np.ones(10), r"is of type ndarray"),
        ({0: np.nan}, r"class 0 the weight nan: expected a finite"),
        ({0: -1.0}, r"the weight -1\.0: expected"),
        ({0: "2"}, r"the weight '2': expected"),
    ],
)
def test_weights_of_classes_that_keras_would_ignore(weights, message, network):
    network.compile("sgd", SPARSE(from_logits=True))
    with pytest.raises(ValueError, match=message):
        network.fit(images(4, 32, 32, 3), np.arange(4), class_weight=weights, verbose=0)


def test_weights_of_some_classes_are_no_mistake(network):
    for weights in (None, {}, {0: 1, 9: 0.5}, {np.int64(3): np.float32(2)}, {2.0: 1}):
        check_class_weight(network, weights)
    check_class_weight(quick(classes=1), {0: 1.0, 1: 5.0})


@pytest.mark.parametrize(
    ("metric", "argument"),
    [
        ("accuracy", r"BinaryAccuracy\(threshold=0\)"),
        ("binary_accuracy", r"BinaryAccuracy\(threshold=0\)"),
        ("binary_crossentropy", r"BinaryCrossentropy\(from_logits=True\)"),
        (keras.metrics.AUC, r"AUC\(from_logits=True\)"),
        (keras.metrics.Precision, r"Precision\(thresholds=0\)"),
        (keras.metrics.Recall, r"Recall\(thresholds=0\)"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_a_metric_of_probabilities_on_logits(metric, argument, method):
    model = quick(classes=1)
    metric = metric if isinstance(metric, str) else metric()
    model.compile("sgd", BINARY(from_logits=True), metrics=[metric], run_eagerly=True)
    with pytest.warns(UserWarning, match=f"takes probabilities.*keras.metrics.{argument}"):
        getattr(model, method)(images(4, 8, 8, 3), np.ones((4, 1)), verbose=0)


def test_right_metrics_are_not_warned_of():
    of_logits = [
        *(keras.metrics.BinaryAccuracy(threshold=0), keras.metrics.Recall(thresholds=0)),
        *(keras.metrics.AUC(from_logits=True), keras.metrics.Precision(top_k=1)),
        keras.metrics.BinaryCrossentropy(from_logits=True),
    ]
    model = quick(classes=1)
    model.compile("sgd", BINARY(from_logits=True), metrics=of_logits, run_eagerly=True)
    model.evaluate(images(4, 8, 8, 3), np.ones((4, 1)), verbose=0)
    model = quick()
    accuracies = ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy()]
    model.compile("sgd", SPARSE(from_logits=True), metrics=accuracies, run_eagerly=True)
    model.evaluate(images(4, 8, 8, 3), np.arange(4), verbose=0)
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Activation("sigmoid")(quick(classes=1)(inputs))
    model = bit_keras.Model(inputs, outputs)
    model.compile("sgd", BINARY(), metrics=["accuracy", "auc"], run_eagerly=True)
    model.evaluate(images(4, 8, 8, 3), np.ones((4, 1)), verbose=0)


def test_fit_explains_itself_as_that_of_keras():
    assert bit_keras.Model.fit.__doc__ == keras.Model.fit.__doc__

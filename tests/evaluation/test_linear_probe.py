"""The linear probe, compared with scikit-learn and with least squares."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from array_tasks import array_task
from networks import randomize, tiny
from sklearn.linear_model import Ridge

import bit_keras
from bit_keras.evaluation import linear_probe

CROP = 32

# Fewer examples than columns, as many (7 features and the bias), and more.
SIZES = [(5, 40), (8, 7), (60, 7)]


def data(examples, columns, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(examples) % 3
    features = rng.normal(3.0, 2.0, (examples, columns)) + labels[:, None]
    return features.astype("float32"), labels


def prepared(features, labels, num_classes):
    """Whitened features with their bias column, and the targets, one by one in Python."""
    whitened = [
        [(value - column.mean()) / (column.std() + 1e-5) for value in column]
        for column in features.astype("float64").T
    ]
    x = np.stack([*whitened, np.full(len(features), 100.0)], axis=1)
    y = np.array([[1.0 if c == label else -1.0 for c in range(num_classes)] for label in labels])
    return x, y


@pytest.mark.parametrize(("examples", "columns"), SIZES)
@pytest.mark.parametrize("l2", [2.0**10, 0.5])
def test_the_probe_is_ridge_regression(examples, columns, l2):
    features, labels = data(examples, columns)
    x, y = prepared(features, labels, 4)  # class 3 has no example
    fitted = linear_probe.fit_probe(features, labels, 4, l2)
    assert fitted.weights.dtype == "float64"
    expected = Ridge(alpha=l2, fit_intercept=False, solver="svd").fit(x, y).coef_.T
    np.testing.assert_allclose(fitted.weights, expected, rtol=1e-7, atol=1e-10)
    # Least squares of the data with sqrt(l2) I below them: neither form of the solution.
    below = np.sqrt(l2) * np.eye(columns + 1)
    least, *_ = np.linalg.lstsq(
        np.concatenate([x, below]), np.concatenate([y, np.zeros((columns + 1, 4))]), rcond=None
    )
    np.testing.assert_allclose(fitted.weights, least, rtol=1e-7, atol=1e-10)


def test_the_default_regularization_is_that_of_big_vision():
    features, labels = data(20, 6)
    np.testing.assert_array_equal(
        linear_probe.fit_probe(features, labels, 3).weights,
        linear_probe.fit_probe(features, labels, 3, l2=1024.0).weights,
    )


@pytest.mark.parametrize(("examples", "columns"), SIZES)
def test_scores_of_new_examples_are_whitened_by_the_training_set(examples, columns):
    features, labels = data(examples, columns)
    others, _ = data(11, columns, seed=1)
    fitted = linear_probe.fit_probe(features, labels, 3, l2=1.0)
    x, y = prepared(features, labels, 3)
    mean, std = features.astype("float64").mean(0), features.astype("float64").std(0) + 1e-5
    ridge = Ridge(alpha=1.0, fit_intercept=False, solver="svd").fit(x, y)
    whitened = np.concatenate([(others - mean) / std, np.full((11, 1), 100.0)], axis=1)
    np.testing.assert_allclose(fitted.scores(others), ridge.predict(whitened), atol=1e-7)


def test_a_feature_that_is_constant_in_training_does_not_change_the_scores():
    features, labels = data(9, 20)
    features[:, 4] = 0.3
    fitted = linear_probe.fit_probe(features, labels, 3)
    others, _ = data(11, 20, seed=1)
    changed = others.copy()
    changed[:, 4] = 0.7
    np.testing.assert_allclose(fitted.scores(others), fitted.scores(changed), atol=1e-6)


def test_features_are_taken_at_the_test_resolution_and_in_order():
    images = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3)).astype("uint8")
    task = array_task(images, np.arange(70) % 10)
    model = randomize(tiny())
    extractor = linear_probe.feature_extractor(model, CROP)
    features = linear_probe.features(extractor, task.test, task, CROP)
    resized = bit_keras.preprocess_input(tf.image.resize(images, (32, 32)).numpy())
    feature_map = keras.Model(model.input, model.endpoints["pre_head"]).predict(resized, verbose=0)
    tolerance = {"rtol": 0, "atol": 1e-5 * features.max()}
    np.testing.assert_allclose(features, feature_map.mean(axis=(1, 2)), **tolerance)
    some = array_task(images[:3], [0, 1, 2]).test
    np.testing.assert_allclose(
        linear_probe.features(extractor, some, task, CROP), features[:3], **tolerance
    )


@pytest.mark.parametrize("arguments", [{}, {"include_top": False}, {"pooling": None}])
def test_a_resnet_is_probed_at_its_features(arguments):
    model = tiny(include_top=False, **arguments) if "pooling" in arguments else tiny(**arguments)
    extractor = linear_probe.feature_extractor(model, CROP)
    assert extractor.output_shape == (None, 1024)
    assert extractor.output is model.endpoints["features"]


def network(*layers, shape=(32, 32, 3)):
    return keras.Sequential([keras.Input(shape), *layers])


def test_another_network_is_probed_at_its_output():
    model = network(keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D())
    assert linear_probe.feature_extractor(model, CROP) is model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: network(keras.layers.Conv2D(4, 3)), r"gives \(None, 30, 30, 4\)"),
        (
            lambda: network(keras.layers.Flatten(), shape=(48, 48, 3)),
            r"of shape \(None, 48, 48, 3\)",
        ),
        (lambda: tiny(input_shape=(None, None, 1)), r"to take images \(None, 32, 32, 3\)"),
        (lambda: keras.Sequential([keras.layers.Flatten()]), "of shape None"),
    ],
)
def test_a_network_that_cannot_be_probed_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        linear_probe.feature_extractor(model(), CROP)


def test_features_that_are_not_finite_are_refused():
    task = array_task(np.zeros([3, 8, 8, 3], np.uint8))
    model = tiny()
    model.weights[0].assign(np.full(model.weights[0].shape, np.nan))
    with pytest.raises(FloatingPointError, match="gives features that are not finite for"):
        linear_probe.features(linear_probe.feature_extractor(model, CROP), task.test, task, CROP)

"""Predictions on a whole test split, compared with scikit-learn, and `bit_keras.evaluate`."""

import dataclasses
import tracemalloc

import keras
import numpy as np
import pytest
import scipy.special
import sklearn.metrics
import tensorflow as tf
from array_tasks import array_task
from networks import randomize, tiny

import bit_keras
from bit_keras.evaluation.evaluate import by_class_name
from bit_keras.evaluation.predictions import Predictions, check_classifier, predict


def test_metrics_by_hand():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.5, 0.25, 0.25]], "float32"))
    metrics = Predictions(logits, np.array([0, 1, 0])).metrics()
    assert metrics["test_accuracy"] == pytest.approx(2 / 3)
    assert metrics["test_loss"] == pytest.approx(-np.log([0.7, 0.1, 0.5]).mean(), rel=1e-6)
    assert metrics["num_test_examples"] == 3


def test_large_logits_do_not_overflow():
    metrics = Predictions(np.float32([[1e4, 0], [0, 1e4]]), np.array([0, 0])).metrics()
    assert metrics["test_loss"] == pytest.approx(5000)


def test_every_example_counts_once_at_the_rules_resolution():
    task = bit_keras.task("digits")
    rule = bit_keras.HyperRule.for_task(task.num_examples, task.image_size).scaled(
        resize=32, crop=32
    )
    metrics = bit_keras.evaluate(randomize(tiny()), task, rule)
    assert metrics["num_test_examples"] == 360
    assert metrics["test_accuracy"] * 360 == pytest.approx(round(metrics["test_accuracy"] * 360))


def test_a_model_with_the_wrong_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="Build it with classes=10"):
        bit_keras.evaluate(tiny(classes=4), bit_keras.task("digits"))


def random_predictions(count=400, classes=12, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)).astype("float32")
    logits[np.arange(count), labels] += 1
    return Predictions(logits, labels)


def test_metrics_are_those_of_scikit_learn():
    predictions = random_predictions()
    logits, labels = predictions.logits, predictions.labels
    metrics = predictions.metrics()
    top = {k: sklearn.metrics.top_k_accuracy_score(labels, logits, k=k) for k in (1, 5)}
    assert metrics["test_accuracy"] == pytest.approx(top[1])
    assert metrics["test_top5_accuracy"] == pytest.approx(top[5])
    assert top[1] < top[5] < 1
    probabilities = scipy.special.softmax(logits.astype("float64"), axis=1)
    assert metrics["test_loss"] == pytest.approx(sklearn.metrics.log_loss(labels, probabilities))
    np.testing.assert_allclose(predictions.confidences, probabilities.max(axis=1), rtol=1e-12)
    recalls = sklearn.metrics.recall_score(labels, logits.argmax(axis=1), average=None)
    np.testing.assert_allclose(predictions.per_class_accuracy(), recalls)


def test_of_equal_logits_the_lower_label_comes_first():
    # All seven are equal: the true class is among the first five if its label is below 5.
    metrics = Predictions(np.zeros((7, 7), "float32"), np.arange(7)).metrics()
    assert metrics["test_accuracy"] == pytest.approx(1 / 7)
    assert metrics["test_top5_accuracy"] == pytest.approx(5 / 7)


@pytest.mark.parametrize("classes", [2, 5])
def test_tasks_of_up_to_five_classes_have_no_top_5_accuracy(classes):
    assert random_predictions(classes=classes).metrics()["test_top5_accuracy"] is None


def test_large_splits_take_little_memory_beside_the_logits():
    predictions = random_predictions(count=20_000, classes=500)
    tracemalloc.start()
    predictions.metrics()
    predictions.per_class_accuracy()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < predictions.logits.nbytes / 2


def test_accuracy_of_each_class_by_name():
    rng = np.random.default_rng(0)
    labels = [0, 0, 0, 2, 2, 2, 2, 3]
    task = array_task(rng.integers(0, 256, (8, 8, 8, 3)).astype("uint8"), labels)
    rule = bit_keras.HyperRule.for_task(8, (8, 8)).scaled(resize=32, crop=32)
    model = randomize(tiny(classes=4))
    found = bit_keras.evaluate(model, task, rule)["per_class_accuracy"]
    assert found["class 1"] is None
    said = predict(model, task, rule.crop).predicted
    for label in (0, 2, 3):
        right = [guess == label for guess in said[np.equal(labels, label)]]
        assert found[f"class {label}"] == pytest.approx(np.mean(right))


def test_two_classes_of_one_name_are_refused():
    task = dataclasses.replace(bit_keras.task("digits"), class_names=("a", "b", *"bcdefghi"))
    with pytest.raises(ValueError, match="several classes are called 'b'"):
        by_class_name(np.zeros(10), task)


def test_logits_that_are_not_finite_are_refused():
    model = randomize(tiny())
    model.weights[-1].assign(np.full(10, np.inf))
    task = array_task(np.zeros((10, 8, 8, 3), "uint8"))
    rule = bit_keras.HyperRule.for_task(10, (8, 8)).scaled(resize=32, crop=32)
    with pytest.raises(FloatingPointError, match="not finite for 10 of 10 images"):
        bit_keras.evaluate(model, task, rule)


def test_the_default_rule_is_that_of_the_network(monkeypatch):
    seen = []
    large = np.zeros((2, 100, 100, 3), "uint8")

    def stop(model, task, crop):
        seen.append(crop)
        return Predictions(np.zeros((2, 2), "float32"), np.arange(2))

    monkeypatch.setattr("bit_keras.evaluation.evaluate.predict", stop)
    for name in ("BiT-M-R50x1", "BiT-M-R152x4"):
        bit_keras.evaluate(tiny(classes=2, name=name), array_task(large))
    assert seen == [384, 480]


def ending(layer):
    network = tiny(input_shape=(32, 32, 3))
    return bit_keras.Model(network.input, layer(network.output))


def nested(network):
    inputs = keras.Input((32, 32, 3))
    return bit_keras.Model(inputs, network(inputs))


def test_a_classifier_may_end_in_other_operations_than_a_head():
    for layer in (lambda x: x / 3, keras.ops.log_softmax, keras.layers.Lambda(lambda x: 2 * x)):
        check_classifier(ending(layer), bit_keras.task("digits"), 32)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ending(keras.layers.Softmax()), "ends in a softmax"),
        (lambda: ending(keras.layers.Activation("sigmoid")), "ends in a sigmoid"),
        (lambda: nested(tiny(classifier_activation="softmax")), "ends in a softmax"),
        (lambda: ending(keras.ops.softmax), "ends in a softmax"),
        (lambda: ending(lambda x: keras.layers.Identity()(keras.ops.sigmoid(x))), "a sigmoid"),
        (lambda: nested(ending(keras.ops.softmax)), "ends in a softmax"),
        (lambda: ending(keras.layers.Lambda(tf.nn.softmax)), "gives probabilities"),
        (lambda: ending(lambda x: keras.ops.exp(keras.ops.log_softmax(x))), "gives probabilities"),
        (lambda: keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)]), "to take images"),
        (lambda: keras.Sequential([keras.layers.Dense(10)]), "gives None"),
        (
            lambda: bit_keras.Model(x := keras.Input((8,)), [keras.layers.Dense(10)(x)] * 2),
            r"gives \[\(None, 10\), \(None, 10\)\]",
        ),
    ],
)
def test_a_model_that_is_no_classifier_of_images_is_refused(build, message):
    rule = bit_keras.HyperRule.for_task(1437, (8, 8)).scaled(resize=32, crop=32)
    with pytest.raises(ValueError, match=message):
        bit_keras.evaluate(build(), bit_keras.task("digits"), rule)

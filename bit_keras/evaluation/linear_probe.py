"""The linear probe: a linear classifier of frozen features, fitted in closed form."""

import dataclasses
from dataclasses import dataclass

import keras
import numpy as np

from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task
from bit_keras.evaluation.predictions import check_input, predict_test_images
from bit_keras.models.model import Model
from bit_keras.models.resnet import ResNetV2

# The strength of the linear probe's regularization and the value of its bias column are taken from
# google-research/big_vision, evaluators/fewshot_lsr.py.
L2, _BIAS = 2.0**10, 100.0

# This number is added to the standard deviation of each feature, by which the feature is divided:
# the standard deviation is 0 if a feature is the same for all images.
_EPSILON = 1e-5


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A linear classifier of image features, and the mean and std that normalize the features.

    Attributes:
        mean: the mean of the training features, float64 `[features]`.
        std: the population std of the training features plus 1e-5, float64 `[features]`.
        weights: float64 `[features + 1, num_classes]`; the last row belongs to the bias column.
    """

    mean: np.ndarray
    std: np.ndarray
    weights: np.ndarray

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Computes class scores from features of images; returns float64 `[examples, num_classes]`.

        Args:
            features: `[examples, features]`.
        """
        return _whitened(features, self.mean, self.std) @ self.weights


def fit_probe(
    features: np.ndarray, labels: np.ndarray, num_classes: int, l2: float = L2
) -> LinearProbe:
    """Fits a linear classifier to image features by ridge regression, in closed form.

        X = [(features - mean) / std, 100],  Y = 1 for the class of an example, else -1
        weights = (X'X + l2 I)^-1 X'Y = X' (XX' + l2 I)^-1 Y

    The first form is solved if there are at least as many examples as columns, else the second,
    because its system of equations is then smaller. The column of 100 is the bias: with so large
    a value, l2 hardly changes it (big_vision's `fewshot_lsr`).

    Args:
        features: `[examples, features]`, at least one example.
        labels: integers `[examples]` in `[0, num_classes)`.
        num_classes: the number of classes, which are the columns of the weights.
        l2: the strength of the regularization, above 0; the default is 2**10.
    """
    features = np.asarray(features, "float64")
    mean, std = features.mean(axis=0), features.std(axis=0) + _EPSILON
    x = _whitened(features, mean, std)
    y = np.where(np.asarray(labels)[:, None] == np.arange(num_classes), 1.0, -1.0)
    examples, columns = x.shape
    if examples >= columns:
        weights = np.linalg.solve(x.T @ x + l2 * np.eye(columns), x.T @ y)
    else:
        weights = x.T @ np.linalg.solve(x @ x.T + l2 * np.eye(examples), y)
    return LinearProbe(mean, std, weights)


def features(
    network: keras.Model,
    examples: Examples,
    task: Task,
    crop: int,
    progress_bar: bool = False,
) -> np.ndarray:
    """Returns a network's features for images, which are resized to `crop` by `crop` pixels.

    Args:
        network: what `feature_extractor` returns; takes images `[batch, crop, crop, 3]`.
        examples: the images, which belong to the task, such as `task.test`.
        task: the task.
        crop: side in pixels of the resized images.
        progress_bar: if True, show a progress bar.

    Returns:
        float32 `[num_examples, features]`, in the examples' order.

    Raises:
        ValueError: an image cannot be read; the message names it.
        FloatingPointError: a feature is not finite.
    """
    shown = dataclasses.replace(task, test=examples)
    return predict_test_images(network, shown, crop, "features", progress_bar)


def feature_extractor(model: keras.Model, crop: int) -> keras.Model:
    """Returns the part of a model that computes pooled features from images.

    A `ResNetV2`, with or without a head, is cut at `endpoints["features"]`. Any other network is
    returned as it is: its output must be the features, so it must be given without its head.

    Args:
        model: the network; takes images `[batch, crop, crop, 3]` in [-1, 1].
        crop: side in pixels of the resized images.

    Raises:
        ValueError: the model takes other images, or its output is not `[batch, features]`.
    """
    check_input(model, crop, "the probe needs")
    if isinstance(model, ResNetV2):
        return Model(model.input, model.endpoints["features"], name=model.name)
    gives = getattr(model, "output_shape", None)
    if not isinstance(gives, tuple) or len(gives) != 2:
        raise ValueError(
            f"Model {model.name!r} gives {gives}; the probe needs pooled features of "
            "shape (None, features). End it in keras.layers.GlobalAveragePooling2D()."
        )
    return model


def _whitened(features: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Normalizes features by the training mean and std, and adds a constant column for the bias."""
    x = np.empty((len(features), features.shape[1] + 1))
    np.subtract(features, mean, out=x[:, :-1])
    x[:, :-1] /= std
    x[:, -1] = _BIAS
    return x

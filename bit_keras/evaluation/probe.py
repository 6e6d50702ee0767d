"""The linear few-shot probe: how far frozen features go, in closed form."""

import dataclasses
from dataclasses import dataclass

import keras
import numpy as np

from bit_keras.data import pipeline
from bit_keras.data.tasks import Examples, Task
from bit_keras.data.unreadable import naming_unreadable
from bit_keras.distributed_model import Model
from bit_keras.evaluation.accuracy import BATCH_SIZE
from bit_keras.hyperrule import HyperRule
from bit_keras.resnet import ResNetV2

# google-research/big_vision, evaluators/fewshot_lsr.py and the configurations that use it.
L2 = 2.0**10
_BIAS = 100.0
_EPSILON = 1e-5  # added to the std: a feature may be constant over a few images


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A linear classifier of features.

    Attributes:
        mean: of the training features, float64 `[features]`.
        std: their population std plus 1e-5, float64 `[features]`.
        weights: float64 `[features + 1, num_classes]`; the last row belongs to the bias column.
    """

    mean: np.ndarray
    std: np.ndarray
    weights: np.ndarray

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Returns float64 `[examples, num_classes]` of `[examples, features]`."""
        return _whitened(features, self.mean, self.std) @ self.weights


def fit_probe(
    features: np.ndarray, labels: np.ndarray, num_classes: int, l2: float = L2
) -> LinearProbe:
    """Returns the ridge regression of the classes on the features, in closed form.

        X = [(features - mean) / std, 100],  Y = 1 for the class of an example, else -1
        weights = (X'X + l2 I)^-1 X'Y = X' (XX' + l2 I)^-1 Y

    The first form is solved where there are at least as many examples as columns, else the
    second: whichever system is smaller. The column of 100 is the bias, which l2 hardly touches
    (big_vision's `fewshot_lsr`).

    Args:
        features: `[examples, features]`, at least one example.
        labels: integers `[examples]` in `[0, num_classes)`.
        num_classes: columns of the weights.
        l2: above 0; the default is 2**10.
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
    rule: HyperRule,
    progress_bar: bool = False,
) -> np.ndarray:
    """Returns a network's features of images, at the rule's test resolution.

    Args:
        network: what `feature_extractor` returns; takes images `[batch, crop, crop, 3]`.
        examples: of the task, such as `task.test`.
        task: that they belong to.
        rule: of which only `crop` counts.
        progress_bar: whether to show one.

    Returns:
        float32 `[num_examples, features]`, in the examples' order.

    Raises:
        ValueError: an image cannot be read; the message names it.
        FloatingPointError: a feature is not finite.
    """
    shown = dataclasses.replace(task, test=examples)
    batches = pipeline.test_batches(shown, rule, BATCH_SIZE)
    with naming_unreadable(lambda: batches):
        values = network.predict(batches.map(lambda images, _: images), verbose=int(progress_bar))
    if not np.isfinite(values).all():
        raise FloatingPointError(
            f"Model {network.name!r} gives features that are not finite for images of "
            f"{task.name!r}: look at its weights."
        )
    return values


def feature_extractor(model: keras.Model, rule: HyperRule) -> keras.Model:
    """Returns the network from images to pooled features.

    Of a `ResNetV2` it ends at `endpoints["features"]`, with or without a head. Any other network
    is taken as it is: its output is the features, so it is given without its head.

    Args:
        model: the network; takes images `[batch, crop, crop, 3]` in [-1, 1].
        rule: of which only `crop` counts.

    Raises:
        ValueError: it takes other images, or its output is not `[batch, features]`.
    """
    takes, gives = (getattr(model, f"{end}_shape", None) for end in ("input", "output"))
    if not isinstance(takes, tuple) or takes[1:] not in _image_shapes(rule.crop):
        raise ValueError(
            f"Model {model.name!r} takes {takes}; the probe needs it to take images (None, "
            f"{rule.crop}, {rule.crop}, 3). Build it with input_shape=(None, None, 3)."
        )
    if isinstance(model, ResNetV2):
        return Model(model.input, model.endpoints["features"], name=model.name)
    if not isinstance(gives, tuple) or len(gives) != 2:
        raise ValueError(
            f"Model {model.name!r} gives {gives}; the probe needs pooled features of "
            "shape (None, features). End it in keras.layers.GlobalAveragePooling2D()."
        )
    return model


def _image_shapes(crop: int) -> set[tuple]:
    return {(height, width, 3) for height in (None, crop) for width in (None, crop)}


def _whitened(features: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """The features by the training mean and std, with the column of the bias."""
    x = np.empty((len(features), features.shape[1] + 1))
    np.subtract(features, mean, out=x[:, :-1])
    x[:, :-1] /= std
    x[:, -1] = _BIAS
    return x

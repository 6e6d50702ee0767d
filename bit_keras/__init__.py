"""Big Transfer (BiT, arXiv 1912.11370) for Keras: networks, weights, BiT-HyperRule fine-tuning.

    model = bit_keras.BiT_M_R50x1(pretrained=True, classes=10)

Each name is imported when it is first used, so `import bit_keras` takes a moment and imports no
Keras. Every class that Keras can save is registered as soon as Keras is imported, before or after
this package, so that a saved `.keras` file loads after a bare `import bit_keras`.
"""

# ruff: noqa: F401  (the imports below are for editors and type checkers)

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

import wrapt

from bit_keras._version import __version__
from bit_keras.models.variants import VARIANTS

# These imports are only for editors and type checkers; at run time, attributes are imported lazily.
if TYPE_CHECKING:
    from bit_keras import layers
    from bit_keras.checkpoints.errors import CheckpointError, DownloadError
    from bit_keras.checkpoints.npz import load_npz, read_contents, save_npz
    from bit_keras.costing.cost import cost
    from bit_keras.data.tasks import task
    from bit_keras.distribution.strategy import strategy
    from bit_keras.evaluation.evaluate import evaluate
    from bit_keras.evaluation.metrics import precision_at_one
    from bit_keras.experiments.fewshot import fewshot
    from bit_keras.exporters.agreement import check_export
    from bit_keras.exporters.saved_model import export_saved_model
    from bit_keras.hyperrule import HyperRule
    from bit_keras.layers import GroupNormalization, HubLayer, StandardizedConv2D
    from bit_keras.models.model import Model
    from bit_keras.models.preprocessing import class_names, decode_predictions, preprocess_input
    from bit_keras.models.resnet import ResNetV2
    from bit_keras.models.variants import list_checkpoints, list_models
    from bit_keras.models.zoo import create
    from bit_keras.runs.trained_model import find_model
    from bit_keras.training.distill import distill
    from bit_keras.training.finetune import finetune
    from bit_keras.training.optimizers import DecayedSGD
    from bit_keras.training.pretrain import pretrain
    from bit_keras.utils.momentum_sgd import MomentumSGD

# Maps each public name to the module that defines it.
_MODULES = {
    "CheckpointError": "checkpoints.errors",
    "DecayedSGD": "training.optimizers",
    "DownloadError": "checkpoints.errors",
    "GroupNormalization": "layers.group_normalization",
    "HubLayer": "layers.hub_layer",
    "HyperRule": "hyperrule",
    "Model": "models.model",
    "MomentumSGD": "utils.momentum_sgd",
    "ResNetV2": "models.resnet",
    "StandardizedConv2D": "layers.standardized_conv2d",
    "check_export": "exporters.agreement",
    "class_names": "models.preprocessing",
    "cost": "costing.cost",
    "create": "models.zoo",
    "decode_predictions": "models.preprocessing",
    "distill": "training.distill",
    "evaluate": "evaluation.evaluate",
    "export_saved_model": "exporters.saved_model",
    "fewshot": "experiments.fewshot",
    "find_model": "runs.trained_model",
    "finetune": "training.finetune",
    "list_checkpoints": "models.variants",
    "list_models": "models.variants",
    "load_npz": "checkpoints.npz",
    "precision_at_one": "evaluation.metrics",
    "preprocess_input": "models.preprocessing",
    "pretrain": "training.pretrain",
    "read_contents": "checkpoints.npz",
    "save_npz": "checkpoints.npz",
    "strategy": "distribution.strategy",
    "task": "data.tasks",
}

_CONSTRUCTORS = tuple(name.replace("-", "_") for name in VARIANTS)

# The modules that register their classes or functions with Keras when they are imported.
_REGISTERING = (
    "evaluation.metrics",
    "hyperrule",
    "layers",
    "models.model",
    "models.preprocessing",
    "models.resnet",
    "training.optimizers",
    "utils.momentum_sgd",
)

__all__ = ["__version__", "layers", *_MODULES, *_CONSTRUCTORS]


def __getattr__(name: str) -> Any:
    if name in __all__:
        # Keras is imported first, because importing Keras imports the modules of `_REGISTERING`. If
        # one of these modules itself were the first to import Keras, the other modules would find
        # that module half imported.
        importlib.import_module("keras")
    if name == "layers":
        return importlib.import_module("bit_keras.layers")
    if name in _CONSTRUCTORS:
        return importlib.import_module("bit_keras.models.zoo").CONSTRUCTORS[name]
    if name not in _MODULES:
        raise AttributeError(f"module 'bit_keras' has no attribute {name!r}")
    return getattr(importlib.import_module(f"bit_keras.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__


@wrapt.when_imported("keras")
def _register_serializable(_: ModuleType) -> None:
    for module in _REGISTERING:
        importlib.import_module(f"bit_keras.{module}")

"""Big Transfer (BiT, arXiv 1912.11370) for Keras: networks, weights, BiT-HyperRule fine-tuning.

    model = bit_keras.BiT_M_R50x1(pretrained=True, classes=10)

What is needed to build and load a model is imported here, and stands on keras and numpy alone;
it also registers every serializable class, so that a saved `.keras` file loads after a bare
`import bit_keras`. The rest (data, training, evaluation) is imported when it is first used.
"""

import importlib

from bit_keras import layers
from bit_keras._version import __version__
from bit_keras.checkpoints.error import CheckpointError, DownloadError
from bit_keras.checkpoints.npz import load_npz, save_npz
from bit_keras.decayed_sgd import DecayedSGD
from bit_keras.distributed_model import Model
from bit_keras.hyperrule import HyperRule
from bit_keras.layers import GroupNormalization, StandardizedConv2D
from bit_keras.precision_at_one import precision_at_one
from bit_keras.preprocessing import decode_predictions, preprocess_input
from bit_keras.resnet import ResNetV2
from bit_keras.saved_model.hub_layer import HubLayer
from bit_keras.zoo import CONSTRUCTORS, create, list_checkpoints, list_models

globals().update(CONSTRUCTORS)

_LAZY = {
    "cost": "bit_keras.costing.cost",
    "distill": "bit_keras.training.distill",
    "evaluate": "bit_keras.evaluation.accuracy",
    "fewshot": "bit_keras.studies.fewshot",
    "export_saved_model": "bit_keras.saved_model.export",
    "finetune": "bit_keras.training.finetune",
    "pretrain": "bit_keras.training.pretrain",
    "strategy": "bit_keras.training.strategy",
    "task": "bit_keras.data.tasks",
}

__all__ = [
    "CheckpointError",
    "DecayedSGD",
    "DownloadError",
    "GroupNormalization",
    "HubLayer",
    "HyperRule",
    "Model",
    "ResNetV2",
    "StandardizedConv2D",
    "__version__",
    "create",
    "decode_predictions",
    "layers",
    "list_checkpoints",
    "list_models",
    "load_npz",
    "precision_at_one",
    "preprocess_input",
    "save_npz",
    *CONSTRUCTORS,
    *_LAZY,
]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'bit_keras' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__

"""R50x1 against the BiT of Hugging Face's transformers, both from one weight file."""

import keras
import numpy as np
import pytest
from peers.fabricated import CLASSES, images, write_npz
from reference import relative_error

import bit_keras

pytestmark = pytest.mark.peer

BIT_KERNEL_EPSILON = 1e-10  # transformers has 1e-8, and no argument to set it


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_npz(tmp_path_factory.mktemp("weights") / "R50x1.npz", "R50x1")


@pytest.fixture(scope="module")
def ours(weights):
    return bit_keras.create("BiT-S-R50x1", pretrained=weights)


@pytest.fixture
def theirs(weights):
    """Its defaults are R50x1's sizes, BiT's zeros around the convolutions and before the pool,
    and BiT's epsilon in the groups."""
    import torch
    from transformers import BitConfig, BitForImageClassification

    model = BitForImageClassification(BitConfig(num_labels=CLASSES))
    with np.load(weights) as arrays:
        state = {_name(key): torch.from_numpy(_transposed(arrays[key])) for key in arrays}
    model.load_state_dict(state)  # which refuses a weight too many or too few
    return model.eval()


def _name(key):
    """The official key's name in transformers: a, b, c of a unit are 1, 2, 3 there."""
    layer, kind = key.split("/")[1:-1], key.rsplit("/", 1)[1]
    suffix = "bias" if kind in ("beta", "bias") else "weight"
    match layer:
        case ["root_block", _]:
            return f"bit.embedder.convolution.{suffix}"
        case ["group_norm"]:
            return f"bit.norm.{suffix}"
        case ["head", _]:
            return f"classifier.1.{suffix}"
    block, unit, part, *rest = layer
    place = f"bit.encoder.stages.{int(block[5:]) - 1}.layers.{int(unit[4:]) - 1}"
    if rest[0] == "proj":
        return f"{place}.downsample.conv.{suffix}"
    name = "norm" if rest[0] == "group_norm" else "conv"
    return f"{place}.{name}{'abc'.index(part) + 1}.{suffix}"


def _transposed(array):
    if array.shape[:2] == (1, 1) and array.shape[-1] == CLASSES:
        return array[0, 0].T.copy()
    return array.transpose(3, 2, 0, 1).copy() if array.ndim == 4 else array


def _set_kernel_epsilon(model):
    from transformers.models.bit.modeling_bit import WeightStandardizedConv2d

    for module in model.modules():
        if isinstance(module, WeightStandardizedConv2d):
            module.eps = BIT_KERNEL_EPSILON


def _logits(model, x):
    import torch

    with torch.inference_mode():
        return model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).logits.numpy()


@pytest.mark.parametrize("size", [(224, 224), (97, 131), (480, 320)])
def test_logits_are_those_of_transformers_with_our_epsilon(ours, theirs, size):
    _set_kernel_epsilon(theirs)
    x = images(2, *size, 3)
    actual = keras.ops.convert_to_numpy(ours(x))
    assert relative_error(actual, _logits(theirs, x)) < 1e-4


def test_transformers_own_epsilon_gives_other_logits(ours, theirs):
    x = images(1, 224, 224, 3)
    assert relative_error(keras.ops.convert_to_numpy(ours(x)), _logits(theirs, x)) > 1e-2

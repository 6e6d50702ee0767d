"""Keras' own tests of Conv2D and GroupNormalization, asked of the layers that replace them."""

import unittest
from unittest import mock

import pytest
from keras.src.layers.convolutional import conv_test
from keras.src.layers.normalization import group_normalization_test

import bit_keras

# Keras trains on a generator without saying shuffle=False.
pytestmark = pytest.mark.filterwarnings("ignore:.shuffle=True. was passed")

# Of conv_test those that ask nothing of a kernel that is not standardized.
CONVOLUTION = (
    "test_conv2d_basic",
    "test_enable_lora_with_alpha",
    "test_lora_rank_argument",
    "test_lora_weight_name",
)


def names(case, prefixes=("test_",)):
    found = unittest.TestLoader().getTestCaseNames(case)
    return [name for name in found if name.startswith(prefixes) and name != "test_session"]


def run(case, name):
    result = case(name).run()
    assert result.testsRun == 1
    assert not result.skipped
    for _, trace in result.errors + result.failures:
        pytest.fail(trace)


@pytest.mark.parametrize("name", names(group_normalization_test.GroupNormalizationTest))
def test_group_normalization(name):
    ours = mock.patch("keras.src.layers.GroupNormalization", bit_keras.GroupNormalization)
    with ours:
        run(group_normalization_test.GroupNormalizationTest, name)


@pytest.mark.parametrize("name", names(conv_test.ConvBasicTest, CONVOLUTION))
def test_convolution(name):
    with mock.patch("keras.src.layers.Conv2D", bit_keras.StandardizedConv2D):
        run(conv_test.ConvBasicTest, name)

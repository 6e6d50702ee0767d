"""What every test needs: two logical CPU devices, and the same random numbers each time."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # tensorflow's banner, not its errors

import keras
import pytest
import tensorflow as tf

# A MirroredStrategy needs more than one device; it must be said before tensorflow starts.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def mirrored():
    # One for all tests: TensorFlow mixes up the collective ops of two over the same devices.
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

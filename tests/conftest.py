"""What the tests share: two logical CPU devices, random numbers, a cache and its server."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # tensorflow's banner, not its errors
os.environ["BIT_KERAS_OFFLINE"] = "1"  # but for the tests that bring a server of their own

import keras
import pictures
import pytest
import tensorflow as tf
from checkpoints.server import Server

import bit_keras
from bit_keras.checkpoints import http, reachable

# A MirroredStrategy needs more than one device; it must be said before tensorflow starts.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


def pytest_addoption(parser):
    parser.addoption(
        "--rounds",
        choices=["few", "full"],
        default="few",
        help="how often to try what goes wrong rarely: full is for a quiet hour",
    )


def pytest_collection_finish():
    """Leaves the objects of all imported modules out of Python's garbage collections.

    They live until the process ends, and looking through them takes half a second each time.
    """
    gc.freeze()


@pytest.fixture
def rounds(request):
    """`rounds(few=3, full=20)` is one of the two, as --rounds says."""
    return lambda few, full: {"few": few, "full": full}[request.config.getoption("rounds")]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The directory of an empty cache."""
    monkeypatch.setenv("BIT_KERAS_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BIT_KERAS_OFFLINE", raising=False)
    monkeypatch.setattr(reachable, "_unreached", {})
    return tmp_path / "cache"


@pytest.fixture
def server(cache, monkeypatch):
    """A local server that the files come from, in three tries without pauses."""
    server = Server()
    monkeypatch.setenv("BIT_KERAS_BASE_URL", server.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(http, "PAUSES", (0, 0))
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def mirrored():
    # The process' one: TensorFlow mixes up the collective ops of two over the same devices.
    return bit_keras.strategy("mirrored")


@pytest.fixture(scope="module")
def no_drawing():
    """Replaces every picture that the runs of a module draw by one white pixel.

    A module uses it by `pytestmark = pytest.mark.usefixtures("no_drawing")`, so that the runs of
    its module fixtures draw nothing either.
    """
    with pictures.one_pixel():
        yield


@pytest.fixture
def eager(monkeypatch):
    """Runs the steps of every compiled model eagerly: for few steps this costs less than tracing.

    TensorFlow traces the training step of the tiny network in 8 s and runs it eagerly in 0.8 s.
    """
    stock = keras.Model.compile

    def compile_eagerly(self, *arguments, **options):
        stock(self, *arguments, **options)
        self.run_eagerly = True

    monkeypatch.setattr(keras.Model, "compile", compile_eagerly)

"""Which strategy a name gives, and what is refused."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

import bit_keras
from bit_keras.distribution import strategy as module

WORKERS = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for name in ("TF_CONFIG", *module._TPU_VARIABLES):
        monkeypatch.delenv(name, raising=False)


def set_tf_config(monkeypatch, content):
    text = content if isinstance(content, str) else json.dumps(content)
    monkeypatch.setenv("TF_CONFIG", text)


def test_mirrored_takes_all_devices_and_is_made_once(mirrored, monkeypatch):
    assert mirrored.num_replicas_in_sync == 2
    assert bit_keras.strategy("mirrored") is mirrored
    monkeypatch.setattr(module, "_made", {})
    # The cluster's devices are not meant.
    set_tf_config(monkeypatch, WORKERS)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: devices)
    devices = ["/device:CPU:0", "/device:CPU:1"]
    assert bit_keras.strategy("mirrored") == devices


def test_one_is_as_without_a_strategy():
    assert bit_keras.strategy("one") is tf.distribute.get_strategy()
    assert bit_keras.strategy() is tf.distribute.get_strategy()


@pytest.mark.parametrize(
    ("devices", "environment", "expected"),
    [
        ({"GPU": 1}, {}, None),
        ({"GPU": 2}, {}, "mirrored"),
        ({"TPU": 8}, {}, "tpu"),
        ({"GPU": 2}, {"TPU_NAME": "mine"}, "tpu"),
        ({"GPU": 2}, {"TF_CONFIG": json.dumps(WORKERS)}, "multi_worker"),
        ({"GPU": 2}, {"TF_CONFIG": "{}"}, "mirrored"),
    ],
)
def test_auto_takes_what_the_machine_has(devices, environment, expected, monkeypatch):
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: [kind] * devices.get(kind, 0)
    )
    monkeypatch.setattr(module, "_made_once", lambda name: name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert bit_keras.strategy("auto") == (expected or tf.distribute.get_strategy())


def test_in_a_scope_auto_is_the_one_that_is_entered(mirrored):
    own = tf.distribute.OneDeviceStrategy("CPU:0")
    with own.scope():
        assert bit_keras.strategy("auto") is own
        with pytest.raises(ValueError, match="in the scope of a OneDeviceStrategy"):
            bit_keras.strategy("mirrored")
    with mirrored.scope():
        assert bit_keras.strategy("mirrored") is mirrored


@pytest.mark.parametrize("name", ["", "mirored", "mirrored=2", "parameter_server", None, 3])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="unknown; expected 'auto', 'one', 'mirrored'"):
        bit_keras.strategy(name)


def test_a_second_one_in_a_process_is_refused(mirrored, monkeypatch):
    set_tf_config(monkeypatch, WORKERS)
    with pytest.raises(ValueError, match="trains under the strategy 'mirrored'"):
        bit_keras.strategy("multi_worker")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", "expected a JSON object {...}, got"),
        ({"cluster": ["a:1"]}, "expected a JSON object {...}, got"),
        ({"cluster": {"worker": "a:1"}, "task": {}}, "worker 'a:1' is not a list of addresses"),
        ({"cluster": {"worker": None}, "task": {}}, "worker None is not a list"),
        ({"cluster": {"worker": 5}, "task": {}}, "worker 5 is not a list"),
        ({"cluster": {"worker": ["a"]}, "task": {}}, "'a' is not HOST:PORT"),
        ({"cluster": {"worker": [["a:1"]]}, "task": {}}, r"\['a:1'\] is not HOST:PORT"),
        ({"cluster": {"worker": ["a:1", "b:65536"]}, "task": {}}, "'b:65536' is not from 1 to 6"),
        ({"cluster": {"worker": ["a:0"]}, "task": {}}, "port of 'a:0' is not from 1 to 65535"),
        ({"cluster": {"chief": ["a:1", "b:2"]}, "task": {}}, "names several chiefs"),
        ({**WORKERS, "cluster": {**WORKERS["cluster"], "ps": ["c:3"]}}, "ClusterCoordinator"),
        ({**WORKERS, "cluster": {**WORKERS["cluster"], "evaluator": ["c:3"]}}, "'evaluator'"),
        ({**WORKERS, "cluster": {"worker": ["a:1", "a:1"]}}, "same address"),
        ({"cluster": WORKERS["cluster"]}, "task type None"),
        ({**WORKERS, "task": {"type": "chief", "index": 0}}, "task type 'chief'"),
        ({**WORKERS, "task": {"type": ["worker"], "index": 0}}, r"task type \['worker'\]"),
        ({**WORKERS, "task": {"type": "worker", "index": True}}, "index True"),
        ({**WORKERS, "task": {"type": "worker", "index": 2}}, "index 2 is not from 0 to 1"),
        ({**WORKERS, "task": {"type": "worker", "index": "0"}}, "index '0'"),
    ],
)
@pytest.mark.parametrize("name", ["auto", "multi_worker"])
def test_a_tf_config_that_cannot_be_is_refused(name, content, message, monkeypatch):
    monkeypatch.setattr(module, "_made", {})
    set_tf_config(monkeypatch, content)
    with pytest.raises(ValueError, match=rf"TF_CONFIG cannot be used: .*{message}.*an example is"):
        bit_keras.strategy(name)


def test_workers_need_a_tf_config(monkeypatch):
    monkeypatch.setattr(module, "_made", {})
    with pytest.raises(ValueError, match="needs the environment variable TF_CONFIG"):
        bit_keras.strategy("multi_worker")


def test_workers_come_before_all_else(monkeypatch):
    monkeypatch.setattr(module, "_made", {})
    set_tf_config(monkeypatch, WORKERS)
    tf.constant(0)
    with pytest.raises(ValueError, match=r"before TensorFlow computes.*Call bit_keras\.strategy"):
        bit_keras.strategy("multi_worker")


@pytest.mark.slow
def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        cluster = {"worker": [f"127.0.0.1:{taken.getsockname()[1]}"]}
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})
        code = "import bit_keras\ntry: bit_keras.strategy()\nexcept OSError as e: print(e)"
        output = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "TF_CONFIG": config},
            cwd=Path(__file__).parent.parent.parent,
            timeout=120,
            text=True,
            capture_output=True,
        )
    assert "Is another process using it?" in output.stdout, output.stderr


def test_without_a_tpu(monkeypatch):
    monkeypatch.setattr(module, "_made", {})
    with pytest.raises(ValueError, match="this machine has no TPU"):
        bit_keras.strategy("tpu")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"grpc://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(OSError, match=f"TPU '{address}' cannot be used .ConnectionRefusedError"):
        bit_keras.strategy(f"tpu={address}")
    with pytest.raises(OSError, match=r"port of '127\.0\.0\.1:99999' is not from 1 to 65535"):
        bit_keras.strategy("tpu=grpc://127.0.0.1:99999")

"""`bit_keras.strategy` creates a tf.distribute strategy from a name such as "mirrored"."""

import json
import os
import re
import socket

import tensorflow as tf

from bit_keras.utils.integers import is_integer
from bit_keras.utils.printable import first_line

# The environment variables in which machines of Google's cloud name their TPU
# (tensorflow/python/tpu/client/client.py).
_TPU_VARIABLES = ("TPU_NAME", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS")

# A TPU's host answers in milliseconds. Without this limit, TensorFlow would wait for an hour.
_TPU_TIMEOUT_SECONDS = 10

# The largest TCP port, which has 16 bits.
_LAST_PORT = 65_535

# Workers sum their gradients in packs of this size, so that the gradients of the last layers are
# sent while those of the first layers are computed. Sending 92 MB between two processes with one
# core each took 0.14 s in packs of 1 to 8 MB, 0.16 s in packs of 16 MB and 0.30 s in one pack.
_BYTES_PER_PACK = 8_000_000

_EXAMPLE = (
    'TF_CONFIG=\'{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
    '"task": {"type": "worker", "index": 0}}\''
)


def strategy(name: str = "auto") -> tf.distribute.Strategy:
    """Returns the `tf.distribute` strategy for a name; build and compile models in its `scope()`.

    A process has one strategy, which each further call returns, because TensorFlow mixes up the
    messages of two strategies over the same devices. With several workers, call this function
    before anything is computed; it returns when all workers have called it.

    Args:
        name: one of

            * "auto": inside the scope of a strategy, that strategy; otherwise "multi_worker" if
              TF_CONFIG names workers, "tpu" if there is a TPU, "mirrored" if there are several
              GPUs, and "one" in all other cases;
            * "one": one device, as without a strategy;
            * "mirrored": all GPUs of this machine or, if it has no GPU, all CPU devices;
            * "multi_worker": all workers of the environment variable TF_CONFIG, each with all of
              its GPUs;
            * "tpu": the TPU of this machine or of TPU_NAME; "tpu=ADDRESS": another one.

    Returns:
        The strategy; for "one", TensorFlow's default strategy.

    Raises:
        ValueError: the name is unknown, there are no such devices, TF_CONFIG is damaged or names
            parameter servers, or this process has another strategy.
        OSError: the TPU cannot be reached, or the port that TF_CONFIG gives this worker is in use.

    Example:

    >>> import bit_keras
    >>> with strategy("one").scope():
    ...     model = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=10)
    """
    kind, _, address = str(name).partition("=")
    known = ("auto", "one", *_STRATEGIES)
    if kind not in known or (address and kind != "tpu"):
        names = ", ".join(map(repr, known))
        raise ValueError(f"strategy={name!r} is unknown; expected {names} or 'tpu=ADDRESS'.")
    if tf.distribute.has_strategy():
        return _entered(name)
    if kind == "auto":
        kind = _found()
    if kind == "one":
        return tf.distribute.get_strategy()
    return _made_once(f"{kind}={address}" if address else kind)


_made: dict[str, tf.distribute.Strategy] = {}


def _made_once(name: str) -> tf.distribute.Strategy:
    if name not in _made:
        for other in _made:
            raise ValueError(
                f"strategy={name!r} was asked for in a process that trains under the strategy "
                f"{other!r}, but TensorFlow cannot use two strategies in one process correctly. "
                "Use one strategy, or one process for each."
            )
        kind, _, address = name.partition("=")
        _made[name] = _STRATEGIES[kind](address)
    return _made[name]


def _entered(name: str) -> tf.distribute.Strategy:
    """Returns the tf.distribute strategy in whose `scope()` the caller is."""
    entered = tf.distribute.get_strategy()
    if name != "auto" and _made.get(name) is not entered:
        raise ValueError(
            f"strategy={name!r} was asked for in the scope of a {type(entered).__name__}. Leave "
            "the scope first, or ask for 'auto', which is the strategy of the scope."
        )
    return entered


def _found() -> str:
    """Returns the name of the strategy that fits the devices of this machine."""
    if _cluster_of_environment():
        return "multi_worker"
    if tf.config.list_physical_devices("TPU") or _tpu_of_environment():
        return "tpu"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one"


def _mirrored(_: str) -> tf.distribute.Strategy:
    # The devices of this machine are passed by name. Without names, TensorFlow would take the
    # devices of all workers if TF_CONFIG is set.
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker(_: str) -> tf.distribute.Strategy:
    if not _cluster_of_environment():
        raise ValueError(
            "strategy='multi_worker' needs the environment variable TF_CONFIG, which names all "
            f"workers and which of them this is, such as {_EXAMPLE}."
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=tf.distribute.experimental.CommunicationOptions(
                bytes_per_pack=_BYTES_PER_PACK
            )
        )
    except RuntimeError as error:
        raise ValueError(
            "strategy='multi_worker' must be made before TensorFlow computes anything in this "
            f"process ({error}). Call bit_keras.strategy first."
        ) from error
    except tf.errors.OpError as error:
        raise OSError(
            f"This worker cannot serve the port that TF_CONFIG gives it ({error.message}). Is "
            "another process using it?"
        ) from error


def _tpu(address: str) -> tf.distribute.Strategy:
    here = "local" if tf.config.list_physical_devices("TPU") else None
    place = address or _tpu_of_environment() or here
    if place is None:
        raise ValueError(
            "strategy='tpu': this machine has no TPU, and TPU_NAME is not set. Give the TPU's "
            "address as 'tpu=grpc://HOST:PORT' or its name as 'tpu=NAME', or choose another "
            "strategy."
        )
    try:
        _check_reachable(place)
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(place)
    except (OSError, ValueError, ImportError, RuntimeError, tf.errors.OpError) as error:
        raise OSError(
            f"The TPU {place!r} cannot be used ({type(error).__name__}: {first_line(error)}). "
            "Check its address, and that it runs the same version of TensorFlow as this machine."
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _tpu_of_environment() -> str | None:
    return next((os.environ[name] for name in _TPU_VARIABLES if os.environ.get(name)), None)


def _check_reachable(place: str) -> None:
    for host, port in re.findall(r"grpc://([^:,/]+):(\d+)", place):
        _check_address(f"{host}:{port}")
        socket.create_connection((host, int(port)), timeout=_TPU_TIMEOUT_SECONDS).close()


def _cluster_of_environment() -> dict[str, list[str]]:
    """Returns the addresses of the workers of each job in TF_CONFIG; {} if it names no workers.

    Raises:
        ValueError: TensorFlow would not understand TF_CONFIG, or it names parameter servers.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        content = json.loads(text or "{}")
        cluster, task = _object(content).get("cluster", {}), _object(content.get("task", {}))
        if not cluster:
            return {}
        if "ps" in _object(cluster):
            raise ValueError(
                "TF_CONFIG names parameter servers (ps), with which Keras 3 cannot train: every "
                "step would have to go through a ClusterCoordinator. Name only workers"
            )
        _check_cluster(cluster, task)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"The environment variable TF_CONFIG cannot be used: {error}. Got {text!r}; an "
            f"example is {_EXAMPLE}."
        ) from error
    return cluster


def _object(value: object) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object {{...}}, got {value!r}")
    return value


def _check_cluster(cluster: dict[str, list[str]], task: dict) -> None:
    unknown = cluster.keys() - {"chief", "worker"}
    if unknown:
        raise ValueError(
            f"the cluster has the jobs {sorted(unknown)}; expected only 'worker' and 'chief'"
        )
    addresses = []
    for job, hosts in cluster.items():
        if not isinstance(hosts, list):
            raise ValueError(f"{job} {hosts!r} is not a list of addresses HOST:PORT")
        addresses += hosts
    for address in addresses:
        _check_address(address)
    if len(set(addresses)) < len(addresses):
        raise ValueError("two workers have the same address")
    if len(cluster.get("chief", [])) > 1:
        raise ValueError(
            "the cluster names several chiefs; expected one chief, and the others as workers"
        )
    job, index = task.get("type"), task.get("index")
    # `job` is searched in a list of names, because a value from JSON may be unhashable.
    if job not in list(cluster):
        raise ValueError(f"the task type {job!r} is not a job of the cluster, {sorted(cluster)}")
    if not is_integer(index) or not 0 <= index < len(cluster[job]):
        raise ValueError(f"the task index {index!r} is not from 0 to {len(cluster[job]) - 1}")


def _check_address(address: object) -> None:
    host_and_port = re.fullmatch(r".+:(\d+)", address) if isinstance(address, str) else None
    if host_and_port is None:
        raise ValueError(f"the address {address!r} is not HOST:PORT")
    if not 1 <= int(host_and_port[1]) <= _LAST_PORT:
        raise ValueError(f"the port of {address!r} is not from 1 to {_LAST_PORT}")


_STRATEGIES = {
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}

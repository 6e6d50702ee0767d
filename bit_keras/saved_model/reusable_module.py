"""Loads a reusable TF2 SavedModel by its handle, through tensorflow_hub's resolver.

"Reusable" is https://www.tensorflow.org/hub/reusable_saved_models: the root object is callable and
may offer `variables`, `trainable_variables` and `regularization_losses`.
"""

import os
import tarfile
import warnings
import zlib
from typing import Any

# By this file one knows the format that TensorFlow 1's `hub.Module` wrote.
_TF1_HUB_FILE = "tfhub_module.pb"


def load_reusable(handle: str) -> Any:
    """Returns the callable root object of a SavedModel, with its variables, ready to be called.

    Under a `tf.distribute` scope, its variables are the strategy's.

    Args:
        handle: an address (of tfhub.dev, or of a tar.gz file on any server; downloaded once, into
            `$TFHUB_CACHE_DIR`) or the path of a directory.

    Raises:
        OSError: when nothing is there, or it cannot be fetched or read.
        ValueError: when what is there is no reusable SavedModel.
    """
    import tensorflow as tf

    directory = _resolve(handle)
    _require_saved_model(handle, directory)
    try:
        module = tf.saved_model.load(directory)
    # IndexError is what TensorFlow says of values that were cut short.
    except (tf.errors.OpError, OSError, IndexError) as error:
        raise OSError(
            f"{handle!r}: the SavedModel cannot be read ({_first_line(error)}). Expected what "
            f"tf.saved_model.save wrote, complete; fetch or export it again."
        ) from error
    _require_callable(handle, module)
    return module


def _resolve(handle: str) -> str:
    """The directory of a handle; downloads it where that is asked for."""
    import tensorflow as tf

    with warnings.catch_warnings():
        # It imports pkg_resources, which says at each import that it is deprecated.
        warnings.simplefilter("ignore")
        import tensorflow_hub as hub
    is_address = "://" in handle
    place = handle if is_address else os.path.expanduser(handle)
    if not is_address and not os.path.exists(place):
        raise FileNotFoundError(
            f"{handle!r}: there is no such path{_seen_from(handle)}. Expected the directory of a "
            f"SavedModel, or an address (https://...)."
        )
    try:
        return hub.resolve(place)
    # What urllib, tarfile, gzip and TensorFlow's file systems say of servers that cannot be reached
    # and of files cut short.
    except (
        OSError,
        ValueError,
        EOFError,
        zlib.error,
        tarfile.TarError,
        tf.errors.OpError,
    ) as error:
        raise OSError(
            f"{handle!r}: cannot be fetched ({_first_line(error)}). Expected the address of a "
            f"SavedModel's tar.gz file. Check the address and the network, or fetch and unpack it "
            f"by other means and give the directory's path."
        ) from error


def _seen_from(handle: str) -> str:
    return "" if os.path.isabs(os.path.expanduser(handle)) else f" in {os.getcwd()}"


def _require_saved_model(handle: str, directory: str) -> None:
    import tensorflow as tf

    def has(name: str) -> bool:
        return tf.io.gfile.exists(os.path.join(directory, name))

    if has(_TF1_HUB_FILE):
        raise ValueError(
            f"{handle!r}: this is a module in the format of TensorFlow 1 ({_TF1_HUB_FILE}), which "
            f"cannot be trained. Expected a TF2 SavedModel; use a later version of the module."
        )
    if not tf.io.gfile.isdir(directory):
        raise ValueError(
            f"{handle!r}: this is a file. Expected the directory of a SavedModel; unpack an "
            f"archive and give the directory."
        )
    if not (has("saved_model.pb") or has("saved_model.pbtxt")):
        raise ValueError(
            f"{handle!r}: no SavedModel, for there is no saved_model.pb in {directory}. Expected a "
            f"directory that tf.saved_model.save wrote."
        )


def _require_callable(handle: str, module: Any) -> None:
    if not callable(module):
        signatures = ", ".join(getattr(module, "signatures", {})) or "none"
        raise ValueError(
            f"{handle!r}: its root object is not callable (signatures: {signatures}), so it cannot "
            f"be trained as a layer. Expected a reusable SavedModel, such as "
            f"bit_keras.export_saved_model writes; what Keras' model.export wrote is loaded by "
            f"keras.layers.TFSMLayer."
        )
    if not module.__call__.concrete_functions:
        raise ValueError(
            f"{handle!r}: its __call__ was saved without ever having been traced. Expected at "
            f"least one concrete function; call it before it is saved."
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

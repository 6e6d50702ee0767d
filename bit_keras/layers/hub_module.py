"""Loads a reusable TF2 SavedModel by its handle, through tensorflow_hub's resolver.

A reusable SavedModel (https://www.tensorflow.org/hub/reusable_saved_models) has a callable root
object, which may have `variables`, `trainable_variables` and `regularization_losses`.
"""

import os
import tarfile
import warnings
import zlib
from typing import Any

from bit_keras.utils.printable import first_line

# Only modules in the old format of TensorFlow 1's `hub.Module` have this file.
_TF1_HUB_FILE = "tfhub_module.pb"


def load_reusable(handle: str) -> Any:
    """Returns the callable root object of a SavedModel, with its variables.

    In the scope of a `tf.distribute` strategy, the variables belong to the strategy.

    Args:
        handle: the path of a directory; or an address, on tfhub.dev or of a tar.gz file on any
            server, which is downloaded once, into `$TFHUB_CACHE_DIR`.

    Raises:
        OSError: there is nothing at the handle, or it cannot be downloaded or read.
        ValueError: the handle is not a reusable SavedModel.
    """
    import tensorflow as tf

    directory = _resolve(handle)
    _require_saved_model(handle, directory)
    try:
        module = tf.saved_model.load(directory)
    # TensorFlow raises an IndexError if the file of the variables is truncated.
    except (tf.errors.OpError, OSError, IndexError) as error:
        raise OSError(
            f"{handle!r}: the SavedModel cannot be read ({first_line(error)}). Expected the "
            "complete output of tf.saved_model.save. Download or export it again."
        ) from error
    _require_callable(handle, module)
    return module


def _resolve(handle: str) -> str:
    """Returns the directory of a SavedModel; downloads the SavedModel if its handle is a URL."""
    import tensorflow as tf

    with warnings.catch_warnings():
        # tensorflow_hub imports pkg_resources, which is deprecated and warns of that at each
        # import. The warning is hidden.
        warnings.simplefilter("ignore")
        import tensorflow_hub as hub
    is_address = "://" in handle
    place = handle if is_address else os.path.expanduser(handle)
    if not is_address and not os.path.exists(place):
        raise FileNotFoundError(
            f"{handle!r}: there is no such path{_seen_from(handle)}. Expected the directory of a "
            "SavedModel, or an address (https://...)."
        )
    try:
        return hub.resolve(place)
    # urllib, tarfile, gzip and TensorFlow's file systems raise these errors if a server cannot be
    # reached or a file is truncated.
    except (
        OSError,
        ValueError,
        EOFError,
        zlib.error,
        tarfile.TarError,
        tf.errors.OpError,
    ) as error:
        raise OSError(
            f"{handle!r}: cannot be downloaded ({first_line(error)}). Expected the address of a "
            "SavedModel's tar.gz file. Check the address and the network, or download and unpack "
            "the file by other means and give the path of the directory."
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
            "cannot be trained. Expected a TF2 SavedModel. Use a later version of the module."
        )
    if not tf.io.gfile.isdir(directory):
        raise ValueError(
            f"{handle!r}: this is a file. Expected the directory of a SavedModel. If it is an "
            "archive, unpack it and give the directory."
        )
    if not (has("saved_model.pb") or has("saved_model.pbtxt")):
        raise ValueError(
            f"{handle!r}: this is not a SavedModel, because {directory} has no saved_model.pb. "
            "Expected a directory that tf.saved_model.save wrote."
        )


def _require_callable(handle: str, module: Any) -> None:
    if not callable(module):
        signatures = ", ".join(getattr(module, "signatures", {})) or "none"
        raise ValueError(
            f"{handle!r}: its root object is not callable (signatures: {signatures}), so it cannot "
            "be trained as a layer. Expected a reusable SavedModel, as written by "
            "bit_keras.export_saved_model. A SavedModel written by Keras' model.export can be "
            "loaded with keras.layers.TFSMLayer."
        )
    if not module.__call__.concrete_functions:
        raise ValueError(
            f"{handle!r}: the module's __call__ was never traced before it was saved. Expected "
            "at least one concrete function. Call the module before saving it."
        )

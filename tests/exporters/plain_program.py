"""Runs every signature of a SavedModel with TensorFlow alone.

    python plain_program.py SAVED_MODEL INPUTS.npz OUTPUTS.npz

INPUTS.npz has batches of images by any name, and `encoded`, an array of objects (bytes).
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf


def main(path, inputs, outputs):
    module = tf.saved_model.load(path)
    found = {"description": module.describe().numpy()}
    with np.load(inputs, allow_pickle=True) as arrays:
        batches = dict(arrays)
    encoded = batches.pop("encoded")
    for name, images in batches.items():
        found[f"{name}/root"] = module(images).numpy()
        found[f"{name}/training"] = module(images, training=True).numpy()
        for signature in ("serving_default", "features"):
            for key, value in module.signatures[signature](tf.constant(images)).items():
                found[f"{name}/{signature}/{key}"] = value.numpy()
    for key, value in module.signatures["serving_bytes"](tf.constant(list(encoded))).items():
        found[f"encoded/{key}"] = value.numpy()
    assert "bit_keras" not in sys.modules
    np.savez(outputs, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])

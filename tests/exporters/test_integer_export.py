"""TensorFlow's own converter makes integers of an export, with a representative dataset."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import images, quick, randomize

import bit_keras
from bit_keras.exporters.engines import load


@pytest.mark.peer
def test_an_export_is_converted_to_integers(tmp_path):
    inputs = keras.Input((9, 9, 3))
    x = bit_keras.StandardizedConv2D(16, 9)(inputs)  # a map of one pixel
    x = bit_keras.GroupNormalization(4, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = randomize(bit_keras.Model(inputs, keras.layers.Dense(5)(x)))
    bit_keras.export_saved_model(model, tmp_path / "module", (-1, 1), freeze=True, quantizable=True)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(tmp_path / "module"), signature_keys=["serving_default"]
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([images(1, 9, 9, 3, seed=i)] for i in range(16))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    (tmp_path / "integers.tflite").write_bytes(converter.convert())
    x = images(1, 9, 9, 3, seed=3)
    found, expected = load(tmp_path / "integers.tflite")(x), model.predict_on_batch(x)
    assert np.abs(found - expected).max() < 0.2 * np.abs(expected).max()


def test_only_a_frozen_module_is_quantizable(tmp_path):
    with pytest.raises(ValueError, match="pass freeze=True"):
        bit_keras.export_saved_model(quick(), tmp_path / "module", quantizable=True)

"""Exports: the numbers of the model, and what a reusable SavedModel has."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from exporters import encodings, plain_program
from marked import slow_except
from networks import images, quick, randomize, tiny
from reference import relative_error

import bit_keras
from bit_keras.exporters import saved_model
from bit_keras.models.task_record import TaskRecord, remember

numpy = keras.ops.convert_to_numpy

NAMES = [f"class {letter}" for letter in "abcdefghij"]
SIZE = 48
BOUNDS = {False: 1e-5, True: 1e-4}  # by freeze
HALF = ("half", "all bfloat16")  # precision
NO_IMAGES = list(encodings.NO_IMAGES.values())
BATCHES = {
    "one": images(1, 224, 224, 3) / 2 + 0.5,
    "five": images(5, 97, 131, 3) / 2 + 0.5,
}


@pytest.fixture(scope="module")
def model():
    return randomize(tiny(kernel_regularizer=keras.regularizers.L2(1e-3), name="tiny"))


@pytest.fixture(
    scope="module",
    params=slow_except([False], [False, True]),
    ids=["variables", "frozen"],
)
def exported(request, model, tmp_path_factory):
    """(whether it is frozen, the path of the model's SavedModel)."""
    path = tmp_path_factory.mktemp("exported") / "module"
    arguments = {"class_names": NAMES, "image_size": SIZE, "freeze": request.param}
    bit_keras.export_saved_model(model, path, **arguments)
    return request.param, path


@pytest.fixture(scope="module")
def found(exported, tmp_path_factory):
    """What every signature gives in a process that has only TensorFlow."""
    folder = tmp_path_factory.mktemp("plain")
    encoded = np.array([*(file for file, _ in encodings.IMAGES.values()), *NO_IMAGES], object)
    np.savez(folder / "inputs.npz", **BATCHES, encoded=encoded)
    files = [folder / "inputs.npz", folder / "outputs.npz"]
    command = [sys.executable, plain_program.__file__, exported[1], *files]
    subprocess.run(command, check=True, timeout=300)
    with np.load(files[1], allow_pickle=True) as arrays:  # of strings
        return dict(arrays)


def to_network(x):
    return (x - 0.5) / 0.5


@pytest.mark.parametrize("batch", BATCHES)
def test_every_signature_gives_the_numbers_of_the_model(model, exported, found, batch):
    bound = BOUNDS[exported[0]]
    x = to_network(BATCHES[batch])
    logits = numpy(model(x))
    features = numpy(keras.Function(model.input, model.endpoints["features"])(x))
    assert relative_error(found[f"{batch}/root"], logits) < bound
    assert relative_error(found[f"{batch}/training"], logits) < bound
    assert relative_error(found[f"{batch}/serving_default/logits"], logits) < bound
    assert relative_error(found[f"{batch}/features/features"], features) < bound


def test_serving_bytes(model, found):
    pixels = [
        tf.io.decode_jpeg(file, channels=3).numpy() if rgb is None else rgb
        for file, rgb in encodings.IMAGES.values()
    ]
    resized = np.stack([tf.image.resize(rgb, (SIZE, SIZE), antialias=False) for rgb in pixels])
    logits = numpy(model(bit_keras.preprocess_input(resized))).astype("float64")
    expected = np.exp(logits - logits.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    best = np.argsort(-logits, axis=1)[:, :5]
    right = len(pixels)
    assert found["encoded/classes"].dtype == np.int64
    assert found["encoded/probabilities"].dtype == np.float32
    np.testing.assert_array_equal(found["encoded/classes"][:right], best)
    assert (found["encoded/names"][:right] == np.array(NAMES, "S").astype(object)[best]).all()
    np.testing.assert_allclose(
        found["encoded/probabilities"][:right],
        np.take_along_axis(expected, best, 1),
        rtol=1e-3,
        atol=1e-6,
    )


def test_serving_bytes_marks_what_is_no_image(found):
    right = len(encodings.IMAGES)
    assert found["encoded/classes"].shape == (right + len(NO_IMAGES), 5)
    assert (found["encoded/classes"][right:] == -1).all()
    assert (found["encoded/probabilities"][right:] == 0).all()
    assert (found["encoded/names"][right:] == b"").all()


@pytest.mark.parametrize("encoded", [[], [b""], [b"", b"image"]], ids=len)
def test_serving_bytes_without_an_image(exported, encoded):
    signature = tf.saved_model.load(str(exported[1])).signatures["serving_bytes"]
    classes = signature(tf.constant(encoded, tf.string))["classes"].numpy()
    np.testing.assert_array_equal(classes, np.full((len(encoded), 5), -1))


def test_a_truncated_jpeg_is_no_image_wherever_it_ends(exported, rounds):
    signature = tf.saved_model.load(str(exported[1])).signatures["serving_bytes"]
    step = rounds(few=97, full=1)
    cuts = [encodings.JPEG[:end] for end in range(0, len(encodings.JPEG), step)]
    assert (signature(tf.constant(cuts))["classes"].numpy() == -1).all()


def test_a_reusable_saved_model_can_be_trained(model, tmp_path):
    model = tiny(kernel_regularizer=keras.regularizers.L2(1e-3))
    model.freeze("block2")
    bit_keras.export_saved_model(model, tmp_path / "module")
    module = tf.saved_model.load(str(tmp_path / "module"))
    assert [v.shape for v in module.variables] == [v.shape for v in model.variables]
    names = [v.name.removesuffix(":0") for v in module.trainable_variables]
    assert names == [v.path for v in model.trainable_variables]
    assert len(module.regularization_losses) == len(model.losses) > 0
    losses = [loss().numpy() for loss in module.regularization_losses]
    np.testing.assert_allclose(losses, [float(loss) for loss in model.losses], rtol=1e-6)


def test_a_frozen_one_has_nothing_to_train(exported):
    frozen, path = exported
    module = tf.saved_model.load(str(path))
    assert json.loads(module.describe().numpy())["frozen"] is frozen
    sizes = (45, 45, 18)
    lists = module.variables, module.trainable_variables, module.regularization_losses
    assert tuple(map(len, lists)) == ((0, 0, 0) if frozen else sizes)
    checkpoint = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    weights = map(checkpoint.get_tensor, checkpoint.get_variable_to_shape_map())
    kernels = [kernel for kernel in weights if np.ndim(kernel) == 4]
    assert len(kernels) == 17
    for kernel in kernels:
        standard = np.abs(kernel.var((0, 1, 2)) - 1).max() < 1e-3
        assert standard == frozen


def test_the_file_tells_what_it_is(model, exported, found):
    frozen, path = exported
    text = (path / "assets" / "bit_keras.json").read_text()
    assert (path / "assets" / "class_names.txt").read_text().splitlines() == NAMES
    assert json.loads(text) == json.loads(found["description"].item())
    told = json.loads(text)
    assert told["input_range"] == [0, 1]
    assert told["output"] == "logits"
    assert told["classes"] == 10
    assert told["serving_bytes_size"] == [SIZE, SIZE]
    for words in ("GIF without transparency", "the colour #ffffff", "TIFF or AVIF"):
        assert words in told["serving_bytes_images"]
    assert told["frozen"] is frozen
    assert told["versions"]["bit_keras"] == bit_keras.__version__
    again = randomize(tiny(name="other"))
    assert (
        told["weights_sha256"]
        == saved_model.describe(again, *_as_exported(again))["weights_sha256"]
    )
    again.weights[3].assign(again.weights[3] + 1e-3)
    assert (
        told["weights_sha256"]
        != saved_model.describe(again, *_as_exported(again))["weights_sha256"]
    )


def _as_exported(model):
    return saved_model.outputs_of(model), saved_model.Serving(
        (0, 1), (SIZE, SIZE), tuple(NAMES), False
    )


@pytest.mark.slow
@pytest.mark.parametrize("input_range", [(-1, 1), (0, 255)])
def test_other_input_ranges(model, tmp_path, input_range):
    bit_keras.export_saved_model(model, tmp_path / "module", input_range=input_range)
    module = tf.saved_model.load(str(tmp_path / "module"))
    x = images(2, 40, 40, 3)
    low, high = input_range
    given = low + (x + 1) / 2 * (high - low)
    assert relative_error(module(given).numpy(), numpy(model(x))) < 1e-5


def nested():
    backbone = tiny(include_top=False)
    inputs = keras.Input((None, None, 3))
    return bit_keras.Model(inputs, keras.layers.Dense(3)(backbone(inputs)))


def network_in_a_model():
    inputs = keras.Input((None, None, 3))
    return bit_keras.Model(inputs, tiny()(keras.layers.Rescaling(0.5)(inputs)))


def head_of_its_own():
    backbone = tiny(include_top=False, pooling=None)
    x = keras.layers.GlobalMaxPooling2D()(backbone.output)
    x = keras.layers.Dropout(0.5)(keras.layers.Dense(7, activation="relu")(x))
    return bit_keras.Model(backbone.input, keras.layers.Dense(3, activation="sigmoid")(x))


def softmax_behind():
    backbone = tiny(include_top=False)
    return keras.Sequential([backbone, keras.layers.Dense(3), keras.layers.Softmax()])


def softmax_behind_a_classifier():
    return keras.Sequential([tiny(classes=3), keras.layers.Softmax()])


def operation_behind(operation):
    def make():
        network = tiny(classes=3)
        return bit_keras.Model(network.input, operation(network.output))

    return make


def operation_behind_a_classifier():
    inputs = keras.Input((None, None, 3))
    return bit_keras.Model(inputs, keras.ops.softmax(tiny(classes=3)(inputs)))


def binary():
    backbone = tiny(include_top=False)
    return bit_keras.Model(backbone.input, keras.layers.Dense(1)(backbone.output))


# Model, name and size of its output, size of its features, whether it serves bytes.
MODELS = {
    "features": (lambda: tiny(include_top=False), "features", 1024, 1024, False),
    "map": (lambda: tiny(include_top=False, pooling=None), "feature_map", 1024, 1024, False),
    "half": (lambda: tiny(dtype="mixed_bfloat16"), "logits", 10, 1024, True),
    "double": (lambda: tiny(dtype="float64"), "logits", 10, 1024, True),
    "fixed": (lambda: tiny(input_shape=(40, 56, 3)), "logits", 10, 1024, True),
    "softmax": (lambda: tiny(classifier_activation="softmax"), "probabilities", 10, 1024, True),
    "nested": (nested, "logits", 3, 1024, True),
    "network in a model": (network_in_a_model, "logits", 10, 1024, True),
    "head": (head_of_its_own, "probabilities", 3, 7, True),
    "softmax layer": (softmax_behind, "probabilities", 3, 1024, True),
    "classifier, softmax": (softmax_behind_a_classifier, "probabilities", 3, 1024, True),
    "softmax operation": (
        operation_behind(keras.ops.softmax),
        "probabilities",
        3,
        1024,
        True,
    ),
    "sigmoid operation": (
        operation_behind(keras.ops.sigmoid),
        "probabilities",
        3,
        1024,
        True,
    ),
    "classifier, softmax operation": (
        operation_behind_a_classifier,
        "probabilities",
        3,
        1024,
        True,
    ),
    "temperature": (operation_behind(lambda x: x / 3), "features", 3, 3, False),
    "all bfloat16": (lambda: tiny(dtype="bfloat16"), "logits", 10, 1024, True),
    # Its one number tells two classes apart: the largest of one is no answer.
    "one logit": (binary, "logits", 1, 1024, False),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_models_of_other_kinds(tmp_path, name):
    check_export(tmp_path / "module", name, freeze=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["half", "network in a model", "softmax layer", "classifier, softmax", "softmax operation"],
)
def test_models_of_other_kinds_frozen(tmp_path, name):
    check_export(tmp_path / "module", name, freeze=True)


def check_export(path, name, freeze):
    make, output, channels, features, serves_bytes = MODELS[name]
    model = make()
    randomize_weights(model)
    size = None if name == "fixed" else SIZE
    # The range of images that a layer halves is not known.
    model_range = (-1, 1) if name == "network in a model" else None
    bit_keras.export_saved_model(
        model, path, freeze=freeze, image_size=size, model_range=model_range
    )
    module = tf.saved_model.load(str(path))
    x = images(2, 40, 56, 3) / 2 + 0.5
    expected = numpy(keras.ops.cast(model(to_network(x)), "float32"))
    given = {key: f(tf.constant(x)) for key, f in module.signatures.items() if "bytes" not in key}
    assert given["serving_default"].keys() == {output}
    found = given["serving_default"][output]
    assert found.dtype == given["features"]["features"].dtype == tf.float32
    assert found.shape[-1] == channels
    assert relative_error(found.numpy(), expected) < (5e-2 if name in HALF else BOUNDS[freeze])
    assert given["features"]["features"].shape == (2, features)
    assert ("serving_bytes" in module.signatures) is serves_bytes
    if serves_bytes:
        answer = module.signatures["serving_bytes"](tf.constant([encodings.JPEG, b""]))
        assert answer["classes"].shape == (2, min(5, channels))
        assert (answer["classes"].numpy() >= 0).all(1).tolist() == [True, False]
        assert answer["names"].numpy()[0, 0] == str(answer["classes"].numpy()[0, 0]).encode()


def randomize_weights(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        centre = 1.0 if weight.name == "gamma" else 0.0
        weight.assign(centre + 0.3 * rng.normal(size=weight.shape))


@pytest.mark.slow
def test_lora_weights_are_in_a_frozen_kernel(tmp_path):
    model = randomize(tiny())
    layer = model.get_layer("block1_unit01_b_standardized_conv2d")
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(keras.ops.ones(layer.lora_kernel_b.shape))
    bit_keras.export_saved_model(model, tmp_path / "module", freeze=True)


def test_probabilities_of_imagenet21k_are_those_of_each_class():
    outputs = saved_model.outputs_of(tiny(classes=21_843))
    logits = keras.ops.convert_to_tensor([[0.0] * 21_843])
    assert numpy(outputs.probabilities(logits)).mean() == 0.5


def test_the_default_size_is_that_of_the_rule():
    size = saved_model._serving_size
    assert size(tiny(), None) == (384, 384)
    assert size(tiny(input_shape=(64, None, 3)), None) == (64, 384)
    assert size(tiny(), 128) == (128, 128)


def test_the_default_background_is_that_of_the_training(tmp_path):
    model = quick(classes=2)
    remember(model, TaskRecord(("ant", "bee"), options={"background": "grey"}))
    for given, code in ((None, "#808080"), ("black", "#000000")):
        bit_keras.export_saved_model(
            model, tmp_path / "module", overwrite=True, background=given, image_size=16
        )
        serve = tf.saved_model.load(str(tmp_path / "module"))
        description = json.loads(serve.describe().numpy())
        assert f"the colour {code}" in description["serving_bytes_images"]
    assert saved_model._background(quick(), None) == (255, 255, 255)


def test_training_reaches_dropout(tmp_path):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Dropout(0.5, seed=1)(keras.layers.GlobalAveragePooling2D()(inputs))
    bit_keras.export_saved_model(bit_keras.Model(inputs, x), tmp_path / "module")
    module = tf.saved_model.load(str(tmp_path / "module"))
    ones = np.ones((4, 8, 8, 3), "float32")
    assert (module(ones).numpy() == 1).all()
    assert set(module(ones, training=True).numpy().ravel()) == {0, 2}


@pytest.mark.slow
def test_a_model_of_a_strategy(mirrored, tmp_path):
    with mirrored.scope():
        model = randomize(tiny())
        with pytest.raises(ValueError, match="outside of the scope"):
            bit_keras.export_saved_model(model, tmp_path / "module")
    bit_keras.export_saved_model(model, tmp_path / "module", image_size=SIZE)
    module = tf.saved_model.load(str(tmp_path / "module"))
    x = images(1, 48, 48, 3) / 2 + 0.5
    assert relative_error(module(x).numpy(), numpy(model(to_network(x)))) < 1e-5

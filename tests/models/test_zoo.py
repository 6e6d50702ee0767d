"""The models by name: sizes, signatures, heads, and wrong names."""

import gc
import inspect
import json
import pydoc
import subprocess
import sys

import keras
import numpy as np
import pytest
from networks import images, randomize, tiny

import bit_keras
from bit_keras.models.variants import ARCHITECTURES, VARIANTS, find_variant

# The paper's networks without a head; 4 * 512 * width features reach the head.
PARAMETERS = {
    "R50x1": (23_500_352, 2048),
    "R101x1": (42_492_480, 2048),
    "R50x3": (211_174_080, 6144),
    "R101x3": (381_789_888, 6144),
    "R152x2": (232_238_208, 4096),
    "R152x4": (928_340_224, 8192),
}
CLASSES = {"S": 1000, "M": 21843, "L": 18291}


def test_the_table():
    names = [f"BiT-{family}-{arch}" for family in CLASSES for arch in PARAMETERS]
    assert sorted(bit_keras.list_models()) == sorted(names)
    assert {name: arch.parameters for name, arch in ARCHITECTURES.items()} == {
        name: parameters for name, (parameters, _) in PARAMETERS.items()
    }


@pytest.fixture(scope="module")
def graphs():
    """What the graph of each variant tells. Their weights have shapes and no values; Keras would
    give them values one day, some 25 GB of them, if their process lived on."""
    code = (
        "import bit_keras, json, keras\n"
        "facts = {}\n"
        "with keras.StatelessScope(initialize_variables=False):\n"
        "    for name in bit_keras.list_models():\n"
        "        model = bit_keras.create(name)\n"
        "        facts[name] = [model.name, model.output_shape[-1], model.count_params()]\n"
        "print(json.dumps(facts))"
    )
    return json.loads(output_of(code))


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize("arch", PARAMETERS)
def test_parameter_counts(graphs, family, arch):
    name = f"BiT-{family}-{arch}"
    body, features = PARAMETERS[arch]
    parameters = body + (features + 1) * CLASSES[family]
    assert graphs[name] == [name.lower().replace("-", "_"), CLASSES[family], parameters]


def output_of(code):
    """What a process of its own prints."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    return result.stdout


def peak_gigabytes(expression):
    """How far building a model raises the peak memory of a process that has imported bit_keras."""
    code = (
        "import bit_keras, resource\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9\n"
        f"before = peak(); model = {expression}; print(peak() - before)"
    )
    return float(output_of(code))


@pytest.mark.parametrize(
    ("model", "gigabytes"),
    [
        pytest.param(
            "BiT_S_R101x1(include_top=False)", 42_492_480 * 4 / 1e9, marks=pytest.mark.slow
        ),
        pytest.param("BiT_M_R152x4()", 1_107_286_867 * 4 / 1e9, marks=pytest.mark.slow),
    ],
)
def test_weights_are_allocated_once(model, gigabytes):
    assert peak_gigabytes(f"bit_keras.{model}") < 1.5 * gigabytes < 12


@pytest.mark.parametrize("name", VARIANTS)
def test_constructors_explain_themselves(name):
    constructor = getattr(bit_keras, name.replace("-", "_"))
    assert list(inspect.signature(constructor).parameters) == [
        "pretrained", "include_top", "classes", "input_shape", "input_tensor", "pooling",
        "classifier_activation", "kernel_regularizer", "dtype", "name",
    ]  # fmt: skip
    text = pydoc.plain(pydoc.render_doc(constructor))
    family, arch = name.split("-")[1:]
    for words in (name, f"{PARAMETERS[arch][0]:,}", f"{CLASSES[family]} classes", "input_shape:"):
        assert words in text
    assert name.replace("-", "_") in dir(bit_keras)
    assert constructor.__module__ == "bit_keras.models.zoo"


def test_the_small_network_is_created_by_its_name(tmp_path):
    network = bit_keras.create("R14x0.5", include_top=False)
    assert (network.name, network.count_params()) == ("r14x0_5", 2_007_328)
    assert find_variant("R14x0.5").architecture.parameters == network.count_params()
    assert bit_keras.create("R14x0.5").output_shape == (None, 1000)  # as for ResNetV2
    assert bit_keras.list_checkpoints("R14x0.5") == []
    assert "R14x0.5" not in bit_keras.list_models()
    for pretrained in (True, "upstream", "ilsvrc2012"):
        with pytest.raises(ValueError, match=r"no published weights of R14x0\.5"):
            bit_keras.create("R14x0.5", pretrained=pretrained)
    bit_keras.save_npz(randomize(tiny(classes=2)), tmp_path / "mine.npz")
    loaded = bit_keras.create("R14x0.5", pretrained=tmp_path / "mine.npz")
    np.testing.assert_array_equal(predict(loaded), predict(randomize(tiny(classes=2))))
    with pytest.raises(ValueError, match=r"the nearest name is 'R14x0\.5'"):
        bit_keras.create("R14x05")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mine.npz"
    bit_keras.save_npz(randomize(bit_keras.create("BiT-M-R50x1", classes=7)), path)
    return path


def predict(model):
    return keras.ops.convert_to_numpy(model(images(1, 40, 40, 3)))


def test_pretrained_from_a_path(checkpoint):
    expected = predict(randomize(bit_keras.create("BiT-M-R50x1", classes=7)))
    own_head = bit_keras.BiT_M_R50x1(pretrained=checkpoint)
    np.testing.assert_array_equal(predict(own_head), expected)

    features = predict(bit_keras.BiT_M_R50x1(pretrained=str(checkpoint), include_top=False))
    # Also with as many classes as the file's: a number means a new head.
    for classes in (3, 7):
        new_head = bit_keras.BiT_M_R50x1(pretrained=checkpoint, classes=classes)
        assert new_head.output_shape == (None, classes)
        assert not predict(new_head).any()
        body = keras.Function(new_head.input, new_head.endpoints["features"])
        np.testing.assert_array_equal(body(images(1, 40, 40, 3)), features)


def test_what_is_loaded_is_not_drawn_at_random_before(checkpoint, monkeypatch):
    def draw(*_, **__):
        raise AssertionError("random numbers were drawn")

    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", draw)
    model = bit_keras.BiT_M_R50x1(pretrained=checkpoint)
    kernel = model.get_layer("root_block_standardized_conv2d").kernel
    assert np.std(keras.ops.convert_to_numpy(kernel)) > 0
    monkeypatch.undo()
    # Made anew from its configuration, it is as any other.
    again = type(model).from_config(model.get_config())
    kernel = again.get_layer("root_block_standardized_conv2d").kernel
    assert np.std(keras.ops.convert_to_numpy(kernel)) > 0


@pytest.mark.parametrize("is_on", [True, False])
def test_the_garbage_collector_is_left_as_it_was(checkpoint, is_on):
    was_on = gc.isenabled()
    (gc.enable if is_on else gc.disable)()
    try:
        bit_keras.BiT_M_R50x1(pretrained=checkpoint)
        assert gc.isenabled() == is_on
        with pytest.raises(bit_keras.CheckpointError):
            bit_keras.BiT_M_R101x1(pretrained=checkpoint)
        assert gc.isenabled() == is_on
    finally:
        (gc.enable if was_on else gc.disable)()


def test_upstream_weights_are_found_in_the_cache(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("BIT_KERAS_HOME", str(tmp_path))
    where = tmp_path / "BiT-M-R50x1.npz"
    monkeypatch.setenv("BIT_KERAS_OFFLINE", "1")
    with pytest.raises(bit_keras.DownloadError, match=rf"bit_models/BiT-M-R50x1\.npz.*{where}"):
        bit_keras.BiT_M_R50x1(pretrained=True)
    where.symlink_to(checkpoint)
    assert bit_keras.BiT_M_R50x1(pretrained=True).output_shape == (None, 7)


def test_refusals(checkpoint, tmp_path):
    with pytest.raises(
        ValueError, match=r"Unknown model 'BiT-M-R50'.*nearest name is 'BiT-M-R50x1'"
    ):
        bit_keras.create("BiT-M-R50")
    with pytest.raises(ValueError, match="Google never released"):
        bit_keras.BiT_L_R50x1(pretrained=True)
    with pytest.raises(ValueError, match="classes=0"):
        bit_keras.BiT_M_R50x1(classes=0)
    with pytest.raises(ValueError, match="weights take 3"):
        bit_keras.BiT_M_R50x1(pretrained=checkpoint, input_shape=(64, 64, 2))
    with pytest.raises(ValueError, match="weights take 3"):
        bit_keras.BiT_M_R50x1(pretrained=checkpoint, input_tensor=keras.Input((64, 64, 1)))
    with pytest.raises(FileNotFoundError, match=r"nearest name is 'ilsvrc2012'"):
        bit_keras.BiT_M_R50x1(pretrained="ilsvrc")
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        bit_keras.BiT_M_R50x1(pretrained=tmp_path / "none.npz")
    with pytest.raises(bit_keras.CheckpointError, match=r"The file has depths \(3, 4, 6, 3\)"):
        bit_keras.BiT_M_R101x1(pretrained=checkpoint)
    with pytest.raises(TypeError, match=r"BiT_M_R50x1\(\) got an unexpected.*clases"):
        bit_keras.BiT_M_R50x1(clases=3)


def test_arguments_of_keras_applications():
    with pytest.raises(TypeError, match=r"BiT_M_R50x1\(\) got an.*'weights'.*pretrained= here"):
        bit_keras.BiT_M_R50x1(weights="imagenet")
    with pytest.raises(ValueError, match=r"include_top='imagenet': expected True or False"):
        bit_keras.BiT_M_R50x1(True, "imagenet")
    with pytest.raises(ValueError, match="expected False for random weights"):
        bit_keras.BiT_M_R50x1(pretrained=None)
    for other in (b"a.npz", 5, 1, ["a.npz"], {}, ""):
        with pytest.raises(ValueError, match=r"expected False .* path of an npz file"):
            bit_keras.BiT_M_R50x1(pretrained=other)
    for model, nearest in (("BiT-M-R50x1", "ilsvrc2012"), ("BiT-S-R50x1", "upstream")):
        with pytest.raises(FileNotFoundError, match=rf"the nearest name is '{nearest}'"):
            bit_keras.create(model, pretrained="imagenet")


def test_a_file_without_a_head(tmp_path):
    path = tmp_path / "body.npz"
    bit_keras.save_npz(bit_keras.create("BiT-S-R50x1", include_top=False), path)
    with pytest.raises(bit_keras.CheckpointError, match="Pass classes= for a new head"):
        bit_keras.BiT_S_R50x1(pretrained=path)
    assert bit_keras.BiT_S_R50x1(pretrained=path, classes=3).output_shape == (None, 3)

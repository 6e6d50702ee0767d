"""Official weight files: loading, saving, and refusals, which leave the model unchanged."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from networks import TINY, images, randomize, tiny

import bit_keras
from bit_keras import CheckpointError, load_npz, save_npz
from bit_keras.checkpoints import npz
from bit_keras.checkpoints.npz import read_contents

numpy = keras.ops.convert_to_numpy

HEAD, BIAS = "resnet/head/conv2d/kernel", "resnet/head/conv2d/bias"
ROOT = "resnet/root_block/standardized_conv2d/kernel"
GAMMA = "resnet/block2/unit01/b/group_norm/gamma"
PROJ = "resnet/block1/unit01/a/proj/standardized_conv2d/kernel"


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """The arrays in the file of a tiny network."""
    path = tmp_path_factory.mktemp("npz") / "tiny.npz"
    save_npz(randomize(tiny()), path)
    with np.load(path) as archive:
        return dict(archive)


@pytest.fixture
def save(tmp_path):
    def save(arrays):
        np.savez(tmp_path / "file.npz", **arrays)
        return tmp_path / "file.npz"

    return save


@pytest.fixture(scope="module")
def network():
    """A tiny network that refused files must leave unchanged."""
    return tiny()


@pytest.fixture(scope="module")
def expected():
    """The weights of the network whose arrays are `arrays`."""
    return values(randomize(tiny()))


def values(model):
    return [numpy(keras.ops.convert_to_tensor(weight)) for weight in model.weights]


def assert_equal(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_schema_is_the_official_one(arrays):
    expected = {ROOT: (7, 7, 3, 32), HEAD: (1, 1, 1024, 10), BIAS: (10,)}
    expected |= {"resnet/group_norm/gamma": (1024,), "resnet/group_norm/beta": (1024,)}
    inputs = 32
    for block, mid in enumerate((32, 64, 128, 256), start=1):
        unit = f"resnet/block{block}/unit01"
        kernels = {
            "a": (1, 1, inputs, mid),
            "a/proj": (1, 1, inputs, 4 * mid),
            "b": (3, 3, mid, mid),
            "c": (1, 1, mid, 4 * mid),
        }
        for key, shape in kernels.items():
            expected[f"{unit}/{key}/standardized_conv2d/kernel"] = shape
        for key, channels in {"a": inputs, "b": mid, "c": mid}.items():
            expected |= {f"{unit}/{key}/group_norm/{n}": (channels,) for n in ("gamma", "beta")}
        inputs = 4 * mid
    assert {key: array.shape for key, array in arrays.items()} == expected
    assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}


@pytest.mark.parametrize(("name", "size"), [("BiT-M-R50x1", 102_242_668)])
def test_a_saved_file_has_the_published_size(name, size, tmp_path):
    save_npz(bit_keras.create(name, classes=1000), tmp_path / "file.npz")
    assert (tmp_path / "file.npz").stat().st_size == size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("BiT-M-R101x1", 178_256_468),
        ("BiT-M-R50x3", 869_321_580),
        ("BiT-M-R152x2", 945_476_668),
        ("BiT-M-R101x3", 1_551_830_100),
        ("BiT-M-R152x4", 3_746_270_104),
    ],
)
def test_larger_saved_files_have_the_published_sizes(name, size, tmp_path):
    # In a process of its own: TensorFlow keeps the freed memory of gigabytes of weights.
    file = tmp_path / "file.npz"
    make = f"bit_keras.save_npz(bit_keras.create({name!r}, classes=1000), {str(file)!r})"
    subprocess.run([sys.executable, "-c", f"import bit_keras; {make}"], check=True, timeout=600)
    assert file.stat().st_size == size
    file.unlink()


def test_saving_and_loading_gives_the_same_weights_and_bytes(tmp_path):
    source, target = randomize(tiny(), seed=1), randomize(tiny(), seed=2)
    save_npz(source, tmp_path / "a.npz")
    load_npz(target, tmp_path / "a.npz")
    assert_equal(values(target), values(source))
    save_npz(target, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_half_precision_policies_keep_float32_weights(tmp_path, arrays, save):
    model = tiny(dtype="mixed_bfloat16")
    load_npz(model, save(arrays))
    save_npz(model, tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again:
        assert_equal([again[key] for key in arrays], arrays.values())


def test_read_contents_gives_architecture_and_head(arrays, save):
    contents = read_contents(save(arrays))
    assert (contents.depths, contents.root_filters, contents.classes) == ((1, 1, 1, 1), 32, 10)
    body = {key: array for key, array in arrays.items() if "head" not in key}
    assert read_contents(save(body)).classes is None


def refused(model, path, message, error=CheckpointError, **arguments):
    before = values(model)
    with pytest.raises(error, match=message):
        load_npz(model, path, **arguments)
    assert_equal(values(model), before)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        (GAMMA, lambda a: a[:-1], r"float32 of shape \(63,\).*needs float32 of shape \(64,\)"),
        (GAMMA, lambda a: a[:1], r"shape \(1,\)"),
        (GAMMA, lambda a: a[None], r"shape \(1, 64\)"),
        (ROOT, lambda a: a.transpose(3, 2, 0, 1), r"shape \(32, 3, 7, 7\)"),
        (GAMMA, lambda a: a.astype("float16"), "is float16"),
        (GAMMA, lambda a: a.astype("float64"), "is float64"),
        (GAMMA, lambda a: a.astype("int32"), "is int32"),
        (GAMMA, lambda a: a.astype(">f4"), "is >f4"),
        (HEAD, lambda a: a[..., :9], r"Pass head='reset'"),
        (GAMMA, lambda a: np.where(np.arange(64) == 40, np.nan, a), "NaN or infinity"),
        (BIAS, lambda a: np.where(np.arange(10) == 9, np.inf, a), "NaN or infinity"),
        (ROOT, lambda a: np.where(np.arange(32) == 0, -np.inf, a), "NaN or infinity"),
    ],
)
def test_a_wrong_array_is_refused_by_its_key(arrays, save, network, key, change, message):
    array = change(arrays[key])
    if array.dtype == "float64" and "NaN" in message:
        array = array.astype("float32")
    refused(network, save(arrays | {key: array}), f"'{key}'.*{message}|{message}.*'{key}'")


def test_missing_and_extra_keys_are_refused(arrays, save, network):
    without = {key: array for key, array in arrays.items() if key != GAMMA}
    refused(network, save(without), f"Missing: '{GAMMA}'")
    extra = "resnet/block1/unit02/a/group_norm/gamma"
    refused(network, save(arrays | {extra: arrays[GAMMA]}), f"Not in the model: '{extra}'")


def test_a_file_of_another_architecture_is_refused(arrays, save):
    deeper = bit_keras.ResNetV2(depths=(1, 1, 2, 1), width=0.5, classes=10)
    message = r"Missing: 'resnet/block3/unit02.*The file has depths \(1, 1, 1, 1\).*of 10 classes"
    refused(deeper, save(arrays), message)
    wider = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=1, classes=10)
    refused(wider, save(arrays), "the model needs float32 of shape")


def test_files_that_are_not_bit_weights_are_refused(save, network):
    refused(network, save({"conv1.weight": np.zeros(3, "float32")}), "is not a BiT weight file")
    refused(network, save({}), "is not a BiT weight file")


def test_numbers_in_layer_names_are_ignored(arrays, save, expected):
    def numbered(key, i):
        for layer in ("standardized_conv2d", "group_norm", "conv2d"):
            key = key.replace(f"/{layer}/", f"/{layer}_{i}/")
        return key

    model = tiny()
    load_npz(
        model, save({numbered(key, i): array for i, (key, array) in enumerate(arrays.items())})
    )
    assert_equal(values(model), expected)
    assert numbered(GAMMA, 7) != GAMMA
    refused(model, save(arrays | {numbered(GAMMA, 7): arrays[GAMMA]}), "are the same weight")


def test_heads_are_matched_or_reset(arrays, save, network, expected):
    path = save(arrays)
    features = tiny(include_top=False)
    load_npz(features, path)
    assert_equal(values(features), expected[:-2])

    other_head = randomize(tiny(classes=3), seed=5)
    before = values(other_head)
    load_npz(other_head, path, head="reset")
    assert_equal(values(other_head), expected[:-2] + before[-2:])

    headless = save({key: array for key, array in arrays.items() if "head" not in key})
    refused(network, headless, f"Missing: '{BIAS}', '{HEAD}'")
    load_npz(tiny(), headless, head="reset")
    refused(network, path, "head='keep'", ValueError, head="keep")


def test_a_network_inside_a_larger_model_is_loaded(arrays, save, expected):
    backbone = tiny(include_top=False)
    model = bit_keras.Model(backbone.input, keras.layers.Dense(2)(backbone.output))
    load_npz(model, save(arrays))
    assert_equal(values(backbone), expected[:-2])
    inputs = keras.Input((None, None, 3))
    nested = bit_keras.Model(inputs, keras.layers.Dense(2)(backbone(inputs)))
    refused(nested, save(arrays), "pass that layer", ValueError)


def test_saving_needs_a_bit_network_and_an_existing_directory(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"expected a bit_keras\.ResNetV2"):
        save_npz(model, tmp_path / "file.npz")
    with pytest.raises(FileNotFoundError):
        save_npz(tiny(), tmp_path / "none" / "file.npz")
    assert not list(tmp_path.iterdir())


def test_loaded_weights_change_the_output(arrays, save):
    model = bit_keras.ResNetV2(**TINY, classes=10)
    x = images(1, 32, 32, 3)
    load_npz(model, save(arrays))
    np.testing.assert_array_equal(numpy(model(x)), numpy(randomize(tiny())(x)))


def test_names_of_a_hundred_units_are_recognised():
    assert npz._LAYER.fullmatch("block3_unit100_a_group_norm")


def test_lora_weights_are_refused(tmp_path):
    model = tiny()
    model.get_layer("head_conv2d").enable_lora(2)
    with pytest.raises(ValueError, match=r"'head_conv2d' has LoRA weights"):
        save_npz(model, tmp_path / "file.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_quantized_weights_are_refused(mode, arrays, save, tmp_path):
    model = randomize(tiny())
    model.quantize(mode)
    message = rf"'head_conv2d' is quantized \({mode}\)"
    with pytest.raises(ValueError, match=message):
        save_npz(model, tmp_path / "quantized.npz")
    assert not (tmp_path / "quantized.npz").exists()
    refused(model, save(arrays), message, ValueError)


def test_a_weight_that_is_not_in_the_schema_is_refused(tmp_path):
    images = keras.Input((8, 8, 3))
    layer = bit_keras.StandardizedConv2D(4, 3, name="root_block_standardized_conv2d")
    with pytest.raises(ValueError, match=r"has the weight 'bias'.*it holds kernel"):
        save_npz(bit_keras.Model(images, layer(images)), tmp_path / "file.npz")

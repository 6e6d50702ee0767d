"""Official weight files: every refusal, and that a refused file changes nothing."""

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
    """The arrays of a tiny network's file."""
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
def test_size_is_that_of_the_published_file(name, size, tmp_path):
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
def test_sizes_of_the_larger_published_files(name, size, tmp_path):
    test_size_is_that_of_the_published_file(name, size, tmp_path)
    (tmp_path / "file.npz").unlink()


def test_round_trip(tmp_path):
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


def test_contents(arrays, save):
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
def test_a_wrong_array_is_refused_by_its_key(arrays, save, key, change, message):
    array = change(arrays[key])
    if array.dtype == "float64" and "NaN" in message:
        array = array.astype("float32")
    refused(tiny(), save(arrays | {key: array}), f"'{key}'.*{message}|{message}.*'{key}'")


def test_missing_and_extra_keys(arrays, save):
    without = {key: array for key, array in arrays.items() if key != GAMMA}
    refused(tiny(), save(without), f"Missing: '{GAMMA}'")
    extra = "resnet/block1/unit02/a/group_norm/gamma"
    refused(tiny(), save(arrays | {extra: arrays[GAMMA]}), f"Not in the model: '{extra}'")


def test_another_architecture(arrays, save):
    deeper = bit_keras.ResNetV2(depths=(1, 1, 2, 1), width=0.5, classes=10)
    message = r"Missing: 'resnet/block3/unit02.*The file has depths \(1, 1, 1, 1\).*of 10 classes"
    refused(deeper, save(arrays), message)
    wider = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=1, classes=10)
    refused(wider, save(arrays), "the model needs float32 of shape")


def test_other_files(save):
    refused(tiny(), save({"conv1.weight": np.zeros(3, "float32")}), "is not a BiT weight file")
    refused(tiny(), save({}), "is not a BiT weight file")


def test_numbered_names(arrays, save):
    def numbered(key, i):
        for layer in ("standardized_conv2d", "group_norm", "conv2d"):
            key = key.replace(f"/{layer}/", f"/{layer}_{i}/")
        return key

    model = tiny()
    load_npz(
        model, save({numbered(key, i): array for i, (key, array) in enumerate(arrays.items())})
    )
    assert_equal(values(model), values(randomize(tiny())))
    assert numbered(GAMMA, 7) != GAMMA
    refused(model, save(arrays | {numbered(GAMMA, 7): arrays[GAMMA]}), "are the same weight")


def test_heads(arrays, save):
    path = save(arrays)
    features = tiny(include_top=False)
    load_npz(features, path)
    assert_equal(values(features), values(randomize(tiny()))[:-2])

    other_head = randomize(tiny(classes=3), seed=5)
    before = values(other_head)
    load_npz(other_head, path, head="reset")
    assert_equal(values(other_head), values(randomize(tiny()))[:-2] + before[-2:])

    headless = save({key: array for key, array in arrays.items() if "head" not in key})
    refused(tiny(), headless, f"Missing: '{BIAS}', '{HEAD}'")
    load_npz(tiny(), headless, head="reset")
    refused(tiny(), path, "head='keep'", ValueError, head="keep")


def test_a_network_inside_a_larger_graph(arrays, save):
    backbone = tiny(include_top=False)
    model = bit_keras.Model(backbone.input, keras.layers.Dense(2)(backbone.output))
    load_npz(model, save(arrays))
    assert_equal(values(backbone), values(randomize(tiny()))[:-2])
    inputs = keras.Input((None, None, 3))
    nested = bit_keras.Model(inputs, keras.layers.Dense(2)(backbone(inputs)))
    refused(nested, save(arrays), "pass that layer", ValueError)


def test_save_needs_a_network_and_a_place(tmp_path):
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


def test_a_hundred_units():
    assert npz._LAYER.fullmatch("block3_unit100_a_group_norm")


def test_lora_has_no_place_in_the_format(tmp_path):
    model = tiny()
    model.get_layer("head_conv2d").enable_lora(2)
    with pytest.raises(ValueError, match=r"'head_conv2d' has LoRA weights"):
        save_npz(model, tmp_path / "file.npz")
    assert not list(tmp_path.iterdir())

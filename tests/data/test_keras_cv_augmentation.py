"""Augmentations by name, and RandAugment by keras-cv."""

import dataclasses
import sys

import keras
import keras_cv
import numpy as np
import pytest
import tensorflow as tf

import bit_keras
from bit_keras.data import keras_cv_augmentation
from bit_keras.data.keras_cv_augmentation import rand_augment


def test_names():
    assert keras_cv_augmentation.checked(None) is None
    assert keras_cv_augmentation.checked("cutmix") == "cutmix"
    assert keras_cv_augmentation.checked("cutmix,rand_augment,cutmix") == "rand_augment,cutmix"


@pytest.mark.parametrize(
    ("names", "nearest"),
    [("randaugment", "rand_augment"), ("CutMix", "cutmix"), ("rand_augment,cutmx", "cutmix")],
)
def test_an_unknown_name(names, nearest):
    with pytest.raises(ValueError, match=rf"nearest is '{nearest}'.*'rand_augment' or 'cutmix'"):
        keras_cv_augmentation.checked(names)


def test_cutmix_alone_needs_no_keras_cv(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_cv", None)  # importing it raises an ImportError
    assert keras_cv_augmentation.checked("cutmix") == "cutmix"
    arguments = keras_cv_augmentation.arguments("cutmix", bit_keras.task("digits"))
    images = tf.reshape(tf.range(4 * 8 * 8 * 3, dtype="float32"), (4, 8, 8, 3))
    mixed, labels = arguments["mix"](images, tf.eye(4), tf.constant([0, 1], tf.int64))
    assert mixed.shape == images.shape
    np.testing.assert_allclose(np.sum(labels, axis=1), 1, rtol=1e-6)
    with pytest.raises(ImportError, match="keras-cv"):
        keras_cv_augmentation.checked("rand_augment,cutmix")


def test_an_empty_name():
    with pytest.raises(ValueError, match="Unknown augmentation ''"):
        keras_cv_augmentation.checked("")


def test_arguments_of_the_pipeline():
    digits = bit_keras.task("digits")
    assert keras_cv_augmentation.arguments(None, digits) == {}
    assert set(keras_cv_augmentation.arguments("cutmix", digits)) == {"mix"}
    assert set(keras_cv_augmentation.arguments("rand_augment,cutmix", digits)) == {"distort", "mix"}


@pytest.mark.parametrize(("random_crop", "geometric"), [(True, True), (False, False)])
def test_no_shift_where_a_crop_would_change_the_label(random_crop, geometric, monkeypatch):
    seen = []
    monkeypatch.setattr(
        keras_cv_augmentation, "rand_augment", lambda **arguments: seen.append(arguments)
    )
    task = dataclasses.replace(bit_keras.task("digits"), random_crop=random_crop)
    keras_cv_augmentation.arguments("rand_augment", task)
    assert seen == [{"geometric": geometric}]


def stream(view, image, numbers):
    def one(number):
        return view(image, tf.stack([number, tf.constant(5, tf.int64)]))

    dataset = tf.data.Dataset.from_tensor_slices(np.asarray(numbers, "int64"))
    return list(dataset.map(one, num_parallel_calls=2).as_numpy_iterator())


IMAGE = tf.constant(np.random.default_rng(0).uniform(20, 200, (8, 8, 3)), tf.float32)


@pytest.fixture(scope="module")
def distorted():
    """One image, distorted by each of 1500 keys."""
    return stream(rand_augment(), IMAGE, range(1500))


def test_the_key_decides_the_distortion(distorted):
    keras.utils.set_random_seed(77)  # Neither this nor the earlier keys matter.
    later = stream(rand_augment(), IMAGE, range(12, 24))
    np.testing.assert_array_equal(distorted[12:24], later)
    assert len({one.tobytes() for one in distorted[:24]}) > 20
    assert np.median([np.abs(one - IMAGE).mean() for one in distorted]) > 5
    for one in distorted:
        assert one.shape == (8, 8, 3)
        assert 0 <= one.min() <= one.max() <= 255


def test_rand_augment_computes_in_float32_under_every_dtype_policy(distorted):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = stream(rand_augment(), IMAGE, range(12))
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_array_equal(found, distorted[:12])


def test_one_distortion_in_eleven_is_left_out(distorted):
    """So neither distortion changes one image in 121: 12.4 of 1500."""
    same = sum(np.array_equal(one, IMAGE) for one in distorted)
    assert 4 <= same <= 25


def test_without_geometry_every_pixel_stays_in_its_place():
    """Contrast and colors keep a black and white image's halves apart, shear and shift do not."""
    image = np.full((32, 32, 3), 20, "float32")
    image[:, 16:] = 200

    def moved(view):
        return sum(
            len(np.unique(one[:, half])) > 3  # a value for each channel
            for one in stream(view, tf.constant(image), range(40))
            for half in (slice(16), slice(16, None))
        )

    assert moved(rand_augment(geometric=False)) == 0
    assert moved(rand_augment()) > 5  # Expected: 12.


def of_one_image(transformations):
    """The numbers of one image, by their names, in keras-cv's or in our form."""
    if not isinstance(transformations, dict):
        transformations = {"only": transformations}
    return {
        name: float(tf.reshape(value, []))
        for name, value in transformations.items()
        if value is not None
    }


@pytest.mark.parametrize("row", range(10))
def test_the_draws_have_the_distributions_of_keras_cv(row):
    """Each of ten distortions, against the layer of keras-cv's own RandAugment: 400 draws each."""
    theirs = keras_cv.layers.RandAugment.get_standard_policy((0, 255), 0.3, 0.15)[row]
    layer, draw = keras_cv_augmentation._distortions(geometric=True)[row]
    assert type(layer) is type(theirs)
    keras.utils.set_random_seed(1)
    if draw(tf.constant([0, 0])) is None:
        assert type(theirs) in (keras_cv.layers.AutoContrast, keras_cv.layers.Equalization)
        return
    batch = theirs.get_random_transformation_batch(400)
    batch = batch if isinstance(batch, dict) else {"only": batch}
    drawn = tf.data.Dataset.range(400).map(lambda i: draw(tf.stack([i, 7])))
    drawn = [of_one_image(each) for each in drawn]
    for name, values in batch.items():
        values = np.ravel(values)
        ours = [each.get(name, 0.0) for each in drawn]
        scale = max(values.std(), 1e-9)
        assert abs(np.mean(ours) - values.mean()) < 0.3 * scale
        assert np.std(ours) == pytest.approx(values.std(), rel=0.15)
        assert abs(np.min(ours) - values.min()) < scale
        assert abs(np.max(ours) - values.max()) < scale


@pytest.fixture(params=["missing", "broken", "without the layer"])
def unusable(request, tmp_path, monkeypatch):
    """Has keras-cv fail; returns what the message must say of it."""
    if request.param == "missing":
        monkeypatch.setitem(sys.modules, "keras_cv", None)
        return "ModuleNotFoundError"
    monkeypatch.delitem(sys.modules, "keras_cv", raising=False)
    package = tmp_path / "site" / "keras_cv"
    package.mkdir(parents=True)
    content = {
        "broken": "raise AttributeError('module numpy has no attribute float_')",
        "without the layer": "import types; layers = types.ModuleType('keras_cv.layers')",
    }
    (package / "__init__.py").write_text(content[request.param])
    monkeypatch.syspath_prepend(package.parent)
    return "AttributeError: module"


@pytest.mark.parametrize("train", [bit_keras.finetune, bit_keras.pretrain])
@pytest.mark.parametrize("names", ["rand_augment", "rand_augment,cutmix"])
def test_unusable_keras_cv_leaves_nothing(train, names, unusable, tmp_path):
    message = f"'rand_augment' needs keras-cv, .*{unusable}.*pip install 'keras-cv.*train without"
    with pytest.raises(ImportError, match=message):
        train("R14x0.5", "digits", augmentation=names, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    sys.modules.pop("keras_cv", None)

"""Fine-tuning with augmentation: it is recorded, goes on, and never touches what is evaluated."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import quick, randomize
from training.stopped import planned_configuration, stopped_at

import bit_keras
from bit_keras.data import pipeline
from bit_keras.training import run

pytestmark = pytest.mark.usefixtures("no_drawing")

STEPS = 6
BOTH = "rand_augment,cutmix"
RULE = bit_keras.HyperRule(
    resize=20,
    crop=16,
    steps=STEPS,
    boundaries=(4, 5, 6),
    warmup_steps=0,
    base_lr=0.01,
    batch_size=8,
    momentum=0.9,
    mixup_alpha=0.1,
)


def finetune(output_dir, **arguments):
    arguments = {"augmentation": BOTH, "eval_every": 3, "held_out": 0.1, **arguments}
    return bit_keras.finetune(
        network(), "digits", RULE, output_dir=output_dir, verbose=False, **arguments
    )


def network():
    return randomize(quick())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return finetune(tmp_path_factory.mktemp("runs") / "alone")


def test_it_is_recorded_and_takes_the_place_of_mixup(alone, tmp_path):
    asked = alone.metrics["configuration"]
    assert asked["augmentation"] == BOTH
    assert asked["rule"]["mixup_alpha"] == 0
    assert finetune(alone.output_dir, augmentation="cutmix,rand_augment").metrics == alone.metrics
    for other, shown in (("cutmix", "'cutmix'"), (None, "not given")):
        with pytest.raises(ValueError, match=f"augmentation is '{BOTH}' there and {shown} here"):
            finetune(alone.output_dir, augmentation=other)
    configuration = planned_configuration(
        network(), "digits", RULE, augmentation="rand_augment", output_dir=tmp_path
    )
    assert configuration["rule"]["mixup_alpha"] == 0.1


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on(alone, tmp_path, monkeypatch):
    with stopped_at(4, monkeypatch):
        finetune(tmp_path)
    assert not (tmp_path / "metrics.json").exists()
    result = finetune(tmp_path)
    assert result.history == alone.history
    for a, b in zip(result.model.variables, alone.model.variables, strict=True):
        np.testing.assert_array_equal(a.value, b.value)


def test_what_is_evaluated_is_not_augmented(alone):
    task = bit_keras.task("digits")
    examples = list(task.test.dataset().as_numpy_iterator())
    images = tf.image.resize(np.stack([example["image"] for example in examples]), (16, 16))
    logits = alone.model.predict(bit_keras.preprocess_input(images.numpy()), verbose=0)
    labels = np.array([example["label"] for example in examples])
    assert (logits.argmax(1) == labels).mean() == alone.metrics["test_accuracy"]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    assert alone.metrics["test_loss"] == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.slow
def test_what_is_held_out_is_not_augmented(tmp_path, monkeypatch):
    """Neither is evaluated with what `fit` is given to train on."""
    seen = {}

    def remember(network, batches, directory, *, held_out, **_):
        seen["train"] = next(batches(0).as_numpy_iterator())
        seen["held_out"] = held_out.score(network, [])
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "fit", remember)
    for augmentation in (BOTH, None):
        with pytest.raises(KeyboardInterrupt):
            finetune(tmp_path / str(augmentation), augmentation=augmentation)
        seen[augmentation] = dict(seen)
    assert seen[BOTH]["held_out"] == seen[None]["held_out"]
    assert not np.array_equal(seen[BOTH]["train"][0], seen[None]["train"][0])


def test_crops_and_flips_stay_the_same_beside_it():
    """What is distorted is the image that would be trained on without augmentation."""
    task = bit_keras.task("digits")
    plain = pipeline.train_batches(task, RULE, seed=3)
    shifted = pipeline.train_batches(task, RULE, seed=3, distort=lambda image, key: image + 1)
    for (images, labels), (others, other_labels) in zip(plain, shifted, strict=True):
        np.testing.assert_allclose(others, images + 1 / 127.5, atol=1e-6)
        np.testing.assert_array_equal(labels, other_labels)


@pytest.mark.slow
def test_without_it_keras_cv_is_not_imported():
    program = (
        "import sys; from bit_keras.training import pretrain; "
        "from bit_keras.training.finetune import prepare; run = prepare('R14x0.5', 'digits'); "
        "next(iter(run.batches(0))); "
        "sys.exit(any(name.split('.')[0] == 'keras_cv' for name in sys.modules))"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", program]
    subprocess.run(command, check=True, timeout=240, env=environment)

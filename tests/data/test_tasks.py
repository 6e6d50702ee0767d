"""What a task is, and how its name is looked up."""

import dataclasses

import numpy as np
import pytest
from array_tasks import array_examples, array_task

import bit_keras
from bit_keras.data.tasks import as_task, pretraining_task, task


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("digit", "digits"),
        ("Digits", "digits"),
        ("digits:", "digits"),
        ("folder", "folder:PATH"),
        ("foldr:/tmp", "folder:PATH"),
    ],
)
def test_unknown_name(name, nearest):
    with pytest.raises(ValueError, match="Unknown task") as error:
        task(name)
    assert f"Did you mean {nearest!r}? Known: digits, clipart, " in str(error.value)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("imagenet21k", "pretrain"),
        ("tfrecords:x", "pretrain"),
        ("labels:x", "pretrain"),
        ("pictures:x", "distill"),
    ],
)
def test_a_task_of_one_command_is_refused_for_fine_tuning(name, command):
    for use in (task, lambda name: bit_keras.finetune("R14x0.5", name, output_dir="unused")):
        with pytest.raises(ValueError, match=f"'{name}' is for bit_keras.{command} .* only"):
            use(name)


def test_pretraining_knows_every_task():
    assert pretraining_task("digits").num_classes == 10
    with pytest.raises(ValueError, match=r"mean 'labels:FILE'\? Known: digits, .*, labels:FILE, "):
        pretraining_task("label:x")


def test_a_task_may_be_given_as_a_function_that_makes_it():
    digits = task("digits")
    assert as_task(lambda: digits) is as_task(digits) is digits
    assert as_task("digits").identity == digits.identity
    with pytest.raises(TypeError, match="The task is a ndarray; expected a name"):
        as_task(lambda: np.zeros(3))
    with pytest.raises(TypeError, match="The task is a type; expected a name"):
        as_task(dict)


def test_counts_follow_the_examples():
    digits = task("digits")
    smaller = dataclasses.replace(digits, train=digits.test)
    assert smaller.num_examples == smaller.num_test_examples == digits.num_test_examples
    assert digits.num_classes == len(digits.class_names)
    with pytest.raises(dataclasses.FrozenInstanceError):
        digits.flip = True


def test_examples_come_in_the_order_of_their_labels():
    examples = task("digits").test
    labels = [example["label"] for example in examples.dataset().as_numpy_iterator()]
    np.testing.assert_array_equal(labels, examples.labels)


def test_an_option_of_another_kind_of_task():
    with pytest.raises(ValueError, match=r"no option 'data_dir'\. Its options are: skip_corrupt"):
        task("folder:/tmp", data_dir="/tmp")
    with pytest.raises(ValueError, match=r"'digits' takes no option .*\. Its options are: none"):
        task("digits", skip_corrupt=True)


def test_flips_and_random_crops_are_chosen_for_any_task():
    digits = task("digits")
    assert (digits.flip, digits.random_crop, digits.chosen) == (False, True, {})
    chosen = task("digits", flip=True, random_crop=None)
    assert (chosen.flip, chosen.random_crop, chosen.chosen) == (True, True, {"flip": True})
    assert task("digits", flip=False).chosen == {}
    assert not pretraining_task("digits", random_crop=False).random_crop
    with pytest.raises(ValueError, match="flip='no': expected True, False or None"):
        task("digits", flip="no")


def test_a_variant_that_is_flipped_is_known_to_differ():
    digits = task("digits")
    assert dataclasses.replace(digits, flip=True).chosen == {"flip": True}
    flipped = task("digits", flip=True)
    assert dataclasses.replace(flipped, flip=False).chosen == {}
    assert flipped.record().options == {"flip": True}
    # This also holds for a task that was made without a name.
    mine = array_task(np.zeros([4, 8, 8, 3], np.uint8), flip=False)
    assert mine.chosen == {}
    assert dataclasses.replace(mine, flip=True, note="a note").chosen == {"flip": True}


def test_the_identity_tells_other_data_under_the_same_name():
    digits = task("digits")
    assert digits.identity == task("digits").identity
    changes = (
        {"class_names": tuple("abcdefghij")},
        {"source": "another split"},
        {"test": digits.train},
    )
    for change in changes:
        assert dataclasses.replace(digits, **change).identity != digits.identity


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_without_a_class_is_refused(split, label):
    images = np.zeros((3, 8, 8, 3), "uint8")
    whole = array_task(images, [0, 1, 1])
    wrong = array_examples(images, [0, 1, label])
    with pytest.raises(ValueError, match=rf"labels go from .*{label}.*; expected .* from 0 to 1"):
        dataclasses.replace(whole, **{split: wrong})
    with pytest.raises(ValueError, match="because class_names has 1"):
        dataclasses.replace(whole, class_names=("one",))
    unknown = array_examples(images, [0, 1, label], known=False)
    assert dataclasses.replace(whole, **{split: unknown}).num_classes == 2


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("imagenet21k", ValueError, "pass the folder that holds it as manual_dir"),
        ("labels:none.tsv", FileNotFoundError, "none.tsv"),
        ("tfrecords:.", FileNotFoundError, "no TFRecord file"),
        ("imagenet21", ValueError, "Unknown task"),
    ],
)
def test_what_is_not_there(name, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        pretraining_task(name)
    with pytest.raises(ValueError, match="takes no option"):
        pretraining_task("labels:x", manual_dir="y")

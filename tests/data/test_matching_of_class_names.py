"""Labels are matched with a model's classes by name: properties over random sets of classes."""

import numpy as np
import pytest
from array_tasks import array_examples
from hypothesis import given, settings
from hypothesis import strategies as st

from bit_keras.data import class_names
from bit_keras.data.tasks import Task

# Any strings, spaces, accents, and the surrogates of names that are not UTF-8 among them.
CHARACTERS = st.characters() | st.sampled_from("\u0301\udc80\udcff")
NAMES = st.lists(
    st.text(CHARACTERS, max_size=6),
    min_size=1,
    max_size=8,
    unique_by=lambda name: class_names.comparable(name),
)


def make(names, labels, **options):
    """A task whose images hold the place of their class in `names`, in every split."""
    labels = np.asarray(labels)
    images = np.broadcast_to(labels.astype("uint8")[:, None, None, None], (len(labels), 1, 1, 3))
    parts = [array_examples(images, labels, known) for known in (True, False, True, True)]
    train, test, validation, whole = parts
    return Task(
        "made", tuple(names), (1, 1), train, test, validation=validation, whole=whole, **options
    )


def names_of_images(task, names):
    """Returns, for each image, the name that it was made with and the name of its label."""
    for examples in (task.train, task.test, task.validation, task.whole):
        read = [examples.read(element) for element in examples.elements()]
        if examples.labels is not None:
            assert [int(example["label"]) for example in read] == list(examples.labels)
        for example in read:
            yield names[int(example["image"][0, 0, 0])], task.class_names[int(example["label"])]


@settings(max_examples=25, deadline=None)
@given(NAMES, st.data())
def test_each_image_keeps_the_name_of_its_class(model, data):
    names = data.draw(st.permutations(model))[: data.draw(st.integers(1, len(model)))]
    labels = data.draw(st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=5))
    matched = class_names.matched(make(names, labels), model, "mine")
    assert matched.class_names == tuple(model)
    for made_as, labelled_as in names_of_images(matched, names):
        assert made_as == labelled_as
    note = class_names.subset_note(make(names, labels), model)
    assert bool(note) == (len(names) < len(model))
    assert f"{len(names)} of the model's {len(model)} classes" in note or not note


@settings(max_examples=25, deadline=None)
@given(NAMES, NAMES)
def test_names_that_do_not_fit_are_refused_with_the_difference(model, names):
    lacking = set(map(class_names.comparable, names)) - set(map(class_names.comparable, model))
    task = make(names, [0])
    if not lacking:
        assert class_names.matched(task, model, "mine").num_classes == len(model)
        return
    with pytest.raises(ValueError, match="Only the task has") as error:
        class_names.matched(task, model, "mine")
    for name in lacking:
        assert repr(name) in str(error.value).split("Only the model has")[0]
    for name in set(map(class_names.comparable, model)) - set(map(class_names.comparable, names)):
        assert repr(name) in str(error.value).split("Only the model has")[1]


@settings(max_examples=15, deadline=None)
@given(NAMES, st.data())
def test_training_goes_on_with_the_same_classes_only(model, data):
    names = data.draw(st.permutations(model))[: data.draw(st.integers(1, len(model)))]
    task = make(names, [0])
    assert class_names.matched_for_training(task, None, "mine") is task
    if len(names) == len(model):
        matched = class_names.matched_for_training(task, model, "mine")
        assert matched.class_names == tuple(model)
        return
    with pytest.raises(ValueError, match=r"The task lacks: .* Or train a new head") as error:
        class_names.matched_for_training(task, model, "mine")
    lacking = str(error.value).split("lacks: ")[1]
    assert all(repr(name) in lacking for name in model if name not in names)


def test_training_on_other_classes_says_how_to_keep_or_replace_the_head():
    for names, advice in ((["a", "c"], r"model\.class_names = None"), (["c"], "Dense\\(1\\)")):
        with pytest.raises(ValueError, match=f"Only the task has: 'c'.*{advice}"):
            class_names.matched_for_training(make(names, [0]), ["a", "b"], "mine")


def test_both_forms_of_an_accent_are_the_same_name():
    matched = class_names.matched(make(["cafe\u0301", "bar"], [0, 1]), ["bar", "caf\u00e9"], "m")
    assert list(matched.test.dataset().map(lambda e: e["label"]).as_numpy_iterator()) == [1, 0]


def test_the_same_names_need_not_be_distinct():
    task = make(["crane", "crane"], [0, 1])
    assert class_names.matched(task, ["crane", "crane"], "m") is task


@pytest.mark.parametrize(
    ("names", "model", "owner"),
    [(["a", "a"], ["a", "b"], "task 'made'"), (["a", "b"], ["a", "b", "b"], "model 'm'")],
)
def test_repeated_names_cannot_be_matched(names, model, owner):
    with pytest.raises(ValueError, match=f"{owner} has several classes of the same name"):
        class_names.matched(make(names, [0]), model, "m")


def test_long_differences_are_cut():
    with pytest.raises(ValueError, match="and 40 more"):
        class_names.matched(make([f"t{k}" for k in range(50)], [0]), ["a"], "m")

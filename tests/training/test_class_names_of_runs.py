"""Training goes on with the class names of a network or of a teacher; validation splits."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from level_classes import level_folder, level_network, level_task, rule
from networks import QuickResNet

import bit_keras
from bit_keras.data.tasks import pretraining_task
from bit_keras.training import distill as distilling
from bit_keras.training.distiller import Distiller
from bit_keras.training.options import RunOptions
from bit_keras.training.preparation import hold_out
from bit_keras.training.teachers import TeacherView, teacher_of_model

pytestmark = pytest.mark.usefixtures("no_drawing", "eager")

NAMES, PLACES = ("ant", "bee", "cat"), [3, 0, 2]


def named_network(places=PLACES, names=NAMES):
    network = level_network(places)
    network.class_names = names
    return network


def other_order(**changes):
    task = level_task([0, 2, 3], ["bee", "cat", "ant"], [0, 2, 3, 3])
    return dataclasses.replace(task, **changes)


def finetune(network, task, directory, **options):
    return bit_keras.finetune(
        network, task, rule(task), output_dir=directory, save_every=9, **options
    )


def test_fine_tuning_goes_on_with_the_names_of_the_network(tmp_path):
    result = finetune(named_network(), other_order(), tmp_path, verbose=False)
    assert result.metrics["test_accuracy"] == 1
    assert result.model.class_names == NAMES
    assert json.loads((tmp_path / "task.json").read_text())["class_names"] == list(NAMES)


def test_a_network_of_other_classes_is_refused_and_can_be_told_to_forget_them(tmp_path):
    network = named_network()
    task = other_order(class_names=("bee", "cat", "cow"))
    with pytest.raises(ValueError, match=r"Only the task has: 'cow'.*model\.class_names = None"):
        finetune(network, task, tmp_path / "run", verbose=False)
    assert not (tmp_path / "run").exists()
    network.class_names = None
    finetune(network, task, tmp_path / "run", verbose=False)
    assert network.class_names == ("bee", "cat", "cow")


def test_a_task_of_some_of_the_classes_is_refused_with_what_helps(tmp_path):
    task = level_task([0, 2], ["bee", "cat"], [0, 2])
    with pytest.raises(ValueError, match="has 2 of the 3 classes of model 'levels'") as error:
        finetune(named_network(), task, tmp_path / "run", verbose=False)
    assert "The task lacks: 'ant'. Add images of these classes." in str(error.value)
    assert "keras.layers.Dense(2)" in str(error.value)
    assert "class_names = None" not in str(error.value)
    assert "Rename" not in str(error.value)


def test_a_run_of_renamed_classes_is_refused_with_their_names(tmp_path):
    classes = dict(zip(NAMES, PLACES, strict=True))
    task = bit_keras.task(level_folder(tmp_path / "pets", classes))
    finetune(level_network(PLACES), task, tmp_path / "run", verbose=False)
    (tmp_path / "pets" / "bee").rename(tmp_path / "pets" / "wasp")
    with pytest.raises(ValueError, match="belongs to a run of another config") as error:
        finetune(
            level_network([3, 2, 0]),
            bit_keras.task(f"folder:{tmp_path / 'pets'}"),
            tmp_path / "run",
            verbose=False,
        )
    said = str(error.value)
    assert "the classes are not the same: only there 'bee', and only here 'wasp'" in said
    assert "the files of the task (source) are not the same" in said
    assert "class_names_sha256" not in said


def test_pre_training_matches_names_too(tmp_path):
    network = QuickResNet(classes=3)
    network.class_names = ("ant", "bee", "cow")
    with pytest.raises(ValueError, match="Only the task has: 'cat'"):
        bit_keras.pretrain(network, other_order(), output_dir=tmp_path)


def test_several_seeds_leave_the_names_of_the_network_as_they_were(tmp_path):
    from bit_keras.experiments.repeated_runs import fresh_start

    network = level_network(PLACES)
    restore = fresh_start(network)
    network.class_names = NAMES
    assert restore().class_names is None


@pytest.mark.parametrize("more", [[], ["dog"]])
def test_a_teacher_is_matched_with_the_task_by_name(more):
    teacher = named_network([*PLACES, *([1] * len(more))], (*NAMES, *more))
    task = other_order()
    teacher = teacher_of_model(teacher, TeacherView(), rule(task).crop)
    fitted, places = distilling._fit_classes(teacher, task, rule(task).crop)
    assert list(places) == [1, 2, 0]
    assert bool(fitted.note) == bool(more)
    student = level_network([0, 2, 3])  # the classes of the task, in its order
    distiller = Distiller(student, teacher, places=places)
    grey = next(iter(task.test.dataset().batch(4)))["image"].numpy() / 127.5 - 1
    loss = distiller.compute_loss(x=grey, y_pred=student(grey))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loss), 0, atol=1e-4)


def test_a_teacher_without_a_class_of_the_task_is_refused():
    task = other_order()
    teacher = teacher_of_model(named_network([0, 2], ("bee", "cat")), TeacherView(), 32)
    with pytest.raises(ValueError, match="Only the task has: 'ant'"):
        distilling._fit_classes(teacher, task, rule(task).crop)


def test_a_teacher_without_names_gives_the_logits_of_the_task():
    task = other_order()
    teacher = teacher_of_model(level_network([0, 2, 3]), TeacherView(), 32)
    assert distilling._fit_classes(teacher, task, rule(task).crop) == (task, None)


@pytest.fixture(scope="module")
def split_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("split")
    for split, count in (("Training", 2), ("valid", 3), ("Testing", 4)):
        level_folder(root / split, dict(zip(NAMES, PLACES, strict=True)), count)
    return root


def test_a_validation_split_is_held_out(split_folder, tmp_path, capsys):
    task = bit_keras.task(f"folder:{split_folder}")
    network = level_network(PLACES)
    metrics = finetune(network, task, tmp_path, eval_every=1).metrics
    assert metrics["num_validation_examples"] == 9
    assert metrics["num_test_examples"] == 12
    assert metrics["validation_accuracy"] == metrics["test_accuracy"] == 1
    assert metrics["configuration"]["num_examples"] == 6
    assert metrics["configuration"]["held_out"] is None
    assert "evaluated on the 9 images of the validation split" in capsys.readouterr().out


@pytest.mark.parametrize("load", [bit_keras.task, pretraining_task])
def test_a_number_to_hold_out_beside_a_validation_split_is_refused(load, split_folder):
    task = load(f"folder:{split_folder}")
    with pytest.raises(ValueError, match=r"--held_out.*validation split of 9 images"):
        hold_out(task, RunOptions(eval_every=1, held_out=0.1))


def test_a_validation_split_that_is_not_used_is_mentioned(split_folder, tmp_path, capsys):
    task = bit_keras.task(f"folder:{split_folder}")
    finetune(level_network(PLACES), task, tmp_path)
    assert "The 9 images of the validation split are not used" in capsys.readouterr().out


def test_a_missing_test_split_is_mentioned(tmp_path, capsys):
    for split in ("train", "VAL"):
        level_folder(tmp_path / split, {"ant": 3, "bee": 0}, 2)
    task = bit_keras.task(f"folder:{tmp_path}")
    finetune(level_network([3, 0]), task, tmp_path / ".run")
    assert "has no test split, so the test images are those of" in capsys.readouterr().out

"""The order of runs in a report, and the runs of pre-training and distillation."""

from made_up_runs import make_run, write_run

from bit_keras.experiments.report import report
from bit_keras.experiments.report_pictures import pictures_of_runs
from bit_keras.experiments.report_tables import others_table


def test_numbers_in_names_are_sorted_as_numbers(tmp_path):
    shots = [1, 2, 10, 100]
    for count in shots:
        asked = {"examples_per_class": count, "num_examples": 10 * count}
        make_run(tmp_path / "runs" / f"shots-{count}", "cifar10", 0.5, **asked)
        make_run(tmp_path / "runs" / f"mine-{count}", "digits", 0.5, **asked)
    content = report([tmp_path / "runs"], tmp_path / "report")
    assert [column.title.split(", ")[-1].split()[0] for column in content.columns] == [
        str(count) for count in shots
    ]
    assert [row[5] for row in others_table(content.others).rows] == [str(count) for count in shots]
    names = [run.path.name for run in content.runs]
    assert names == [f"{kind}-{count}" for kind in ("mine", "shots") for count in shots]


def test_pretraining_and_distillation_have_their_recipe_and_their_curve(tmp_path):
    for command, recipe in (("distill", "distillation"), ("pretrain", "BiT-M")):
        asked = {
            "command": command,
            "model": "R14x0.5",
            "task": "digits",
            "seed": 0,
            "recipe": recipe,
            "budget": {"steps": 600, "schedule": "cosine"},
        }
        write_run(tmp_path / "runs" / command, asked, test_accuracy=0.5, seed=0)
    content = report([tmp_path / "runs"], tmp_path / "report")
    assert [row[4] for row in others_table(content.others).rows] == [
        f"{recipe} recipe, steps 600, schedule cosine" for recipe in ("distillation", "BiT-M")
    ]
    pictures = pictures_of_runs(content.runs)
    assert len(pictures) == 2
    assert all("loss, learning rate and accuracy" in picture.alt for picture in pictures)

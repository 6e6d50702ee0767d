"""The order of runs in a report."""

from made_up_runs import make_run

from bit_keras.experiments.report import report
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

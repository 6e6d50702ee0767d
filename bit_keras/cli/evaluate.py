"""`bit-keras evaluate`: evaluates a trained model on a test split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from bit_keras.cli.flags import OVERWRITE_FLAG, TASK_OPTION_FLAGS, TEXT, WHOLE, Command, given
from bit_keras.utils.text_table import TextTable

if TYPE_CHECKING:
    from bit_keras.data.tasks import Task
    from bit_keras.evaluation.predictions import Predictions

# At most 5 of the classes with the lowest accuracy are printed, and at most 5 confusions.
_LISTED = 5


def _run(values: flags.FlagValues, model: str) -> None:
    from bit_keras.runs.trained_model import find_model

    # A wrong model name is refused here, before the import of TensorFlow below takes seconds.
    find_model(model, values.weights)
    from bit_keras.evaluation.evaluate import prepare_evaluation, run_evaluation

    evaluation = prepare_evaluation(
        model,
        values.task,
        weights=values.weights,
        crop=values.crop,
        task_options=given(values, TASK_OPTION_FLAGS),
        output_dir=values.output_dir,
        overwrite=values.overwrite,
    )
    directory, task = evaluation.directory, evaluation.task
    if evaluation.finished is not None:
        print(f"{directory} already holds this evaluation, finished: nothing to do.")
        return
    print(
        f"{evaluation.configuration['model']} ({evaluation.configuration['weights']} weights) on "
        f"{task.name}: {task.num_test_examples} test images at {evaluation.crop} pixels"
    )
    for note in evaluation.notes:
        print(note)
    metrics, predictions = run_evaluation(evaluation, progress_bar=True)
    print_summary(metrics, predictions, task)
    print(f"Written to {directory}.")


def print_summary(metrics: dict, predictions: Predictions, task: Task) -> None:
    """Prints accuracy, the classes with the lowest accuracy, and the most frequent confusions."""
    from bit_keras.evaluation.confusion import most_frequent_confusions

    top5 = metrics["test_top5_accuracy"]
    print(
        f"Test accuracy {metrics['test_accuracy']:.2%} of all {metrics['num_test_examples']} test "
        f"images{f', top-5 {top5:.2%}' if top5 is not None else ''}."
    )
    TextTable(
        "Classes with the lowest accuracy",
        ("class", "right", "test images", "accuracy"),
        _worst_classes(predictions, task),
    ).print()
    confusions = most_frequent_confusions(predictions, _LISTED)
    if confusions:
        TextTable(
            "Most frequent confusions",
            ("true class", "prediction", "test images"),
            tuple(
                (task.class_names[c.truth], task.class_names[c.predicted], str(c.count))
                for c in confusions
            ),
        ).print()


def _worst_classes(predictions: Predictions, task: Task) -> tuple[tuple[str, ...], ...]:
    counts = zip(task.class_names, *predictions.per_class_counts(), strict=True)
    accuracies = [(right / total, name, right, total) for name, total, right in counts if total]
    worst = sorted(accuracies, key=lambda row: row[0])[:_LISTED]
    return tuple(
        (name, str(right), str(total), f"{accuracy:.1%}") for accuracy, name, right, total in worst
    )


# fmt: off
COMMAND = Command(
    "Evaluate a model (a run's directory, a .keras file or a name of the zoo) on a test split.",
    (
        (TEXT, "task", None, "a task, as for finetune; by default the task of the model's run"),
        (TEXT, "weights", None, "for a model of the zoo, the name of a checkpoint, such as "
         "ilsvrc2012, or the path of an official npz file; by default the upstream weights"),
        (WHOLE, "crop", None, "side of the resized test image in pixels; by default the crop of "
         "the training, or the crop of the BiT-HyperRule if the former is not known"),
        (TEXT, "output_dir", None, "directory of the evaluation; by default "
         "runs/evaluate-MODEL-TASK"),
        *TASK_OPTION_FLAGS,
        *OVERWRITE_FLAG,
    ),
    _run,
    ("MODEL",),
    required=1,
)
# fmt: on

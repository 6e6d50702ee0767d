"""Fine-tuning: a network, a task and a rule; no hyper-parameter to choose."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import keras

from bit_keras.atomic_file import written_whole
from bit_keras.data.tasks import Task
from bit_keras.evaluation.accuracy import predict
from bit_keras.evaluation.pictures import plot_learning_curve, plot_predictions
from bit_keras.hyperrule import HyperRule
from bit_keras.training import run_directory
from bit_keras.training.fit import fit
from bit_keras.training.plan import HELD_OUT, RANDOM, Plan, plan


@dataclass(frozen=True, eq=False)
class Result:
    """What a fine-tuning run leaves.

    Attributes:
        model: the trained network, compiled.
        history: lists of equal length: step, loss (nats), accuracy (0 to 1), learning_rate; and
            with `eval_every`, "validation": a dict of such lists, step, loss and accuracy.
        metrics: the content of metrics.json.
        output_dir: with config.json, metrics.json, model.keras, learning_curve.png,
            predictions.png and tensorboard/.
    """

    model: keras.Model
    history: dict
    metrics: dict
    output_dir: Path


def finetune(
    model: str | keras.Model,
    task: str | Task,
    rule: HyperRule | None = None,
    *,
    output_dir: str | os.PathLike,
    pretrained: bool | str | os.PathLike = True,
    recipe: str = "paper",
    budget: dict[str, float | None] | None = None,
    examples_per_class: int | None = None,
    eval_every: int | None = None,
    held_out: float = HELD_OUT,
    seed: int = 0,
    overwrite: bool = False,
    verbose: bool = True,
) -> Result:
    """Fine-tunes a network on a task by the BiT-HyperRule and reports its test accuracy.

    SGD with momentum on softmax cross-entropy, all weights, no weight decay (arXiv 1912.11370,
    section 3.3). The same arguments give the same numbers on the same machine.

    Ctrl-C and SIGTERM end it after the step, with its state saved. The same call on the same
    directory then goes on, also after a kill, and ends with the numbers of a run that was left
    alone; a finished run is returned as it is. A run of other arguments is refused.

    Args:
        model: a name from `list_models()`, or "R14x0.5" (a small network, from random weights);
            or your own network with one logit for each class.
        task: a name for `bit_keras.task`, or a task.
        rule: the hyper-parameters; None is the BiT-HyperRule of the task and the model, or with
            random weights of a named model, a recipe for training from scratch.
        output_dir: where the run is kept.
        pretrained: of a named model: as for its constructor; the head is new.
        recipe: of the BiT-HyperRule, "paper" or "official".
        budget: arguments of `HyperRule.scaled`, which is applied to the rule.
        examples_per_class: train on a balanced subset of so many images a class, chosen by seed.
        eval_every: evaluate after so many steps, and after the last, on training examples that are
            held out; None trains on all of them, and evaluates only on the test split at the end.
        held_out: fraction of the training examples that `eval_every` holds out, at random by
            seed; the few shots are chosen among the others, and the rule counts only what is
            trained on.
        seed: of the subset, the held-out examples, the order of the images, crops, flips, mixup
            and initial weights.
        overwrite: start anew in a directory that holds a run.
        verbose: whether to say what is done and to show a progress bar.

    Returns:
        A `Result`; `result.metrics["test_accuracy"]` is over the whole test split,
        `["validation_accuracy"]` over the held-out examples at the end.

    Raises:
        ValueError: an unknown model or task, data that cannot be used, a model that does not fit
            the task, or an `output_dir` of another run.
        OSError: no weights on this machine, or an `output_dir` that cannot be written.
        CheckpointError: the weights do not fit, or are damaged.
    """
    planned = plan(
        model,
        task,
        rule,
        pretrained=pretrained,
        recipe=recipe,
        budget=budget,
        examples_per_class=examples_per_class,
        eval_every=eval_every,
        held_out=held_out,
        seed=seed,
    )
    network, task, rule = planned.network, planned.task, planned.rule
    directory = Path(output_dir)
    tell = print if verbose else _say_nothing
    # Nothing is written before all that was asked for is known to be possible.
    finished = run_directory.claim(directory, planned.configuration, overwrite)
    if finished is not None:
        tell(f"{directory} holds this run, finished: nothing to do. With overwrite it starts anew.")
        return _reopened(directory, finished)
    tell(_announcement(planned))
    start = time.monotonic()
    history = fit(
        network,
        task,
        rule,
        seed,
        directory,
        held_out=planned.held_out,
        eval_every=eval_every,
        progress_bar=verbose,
        tell=tell,
    )
    predictions = predict(network, task, rule)
    metrics = {
        **predictions.metrics(),
        **_validation_metrics(planned, history),
        "seconds": round(time.monotonic() - start, 1),
        "seed": seed,
        "configuration": planned.configuration,
        "versions": run_directory.versions(),
    }
    # The weights first: no fault of a picture may cost them.
    with written_whole(directory / run_directory.MODEL) as temporary:
        network.save(temporary)
    run_directory.write_json(directory / run_directory.HISTORY, history)
    accuracy, total = metrics["test_accuracy"], metrics["num_test_examples"]
    curve = directory / run_directory.CURVE
    title = f"{planned.configuration['model']} on {task.name}"
    plot_learning_curve(history, accuracy, title, curve)
    plot_predictions(predictions, task, rule, directory / run_directory.PREDICTIONS)
    run_directory.write_json(directory / run_directory.METRICS, metrics)
    (directory / run_directory.STATE).unlink(missing_ok=True)
    tell(f"Test accuracy {accuracy:.2%} of all {total} test images. Written to {directory}.")
    return Result(network, history, metrics, directory)


def _say_nothing(_: str) -> None:
    """What a run that is not verbose prints."""


def _validation_metrics(planned: Plan, history: dict) -> dict:
    if planned.held_out is None:
        return {}
    return {
        "validation_accuracy": history["validation"]["accuracy"][-1],
        "num_validation_examples": planned.held_out.num_examples,
    }


def _reopened(directory: Path, metrics: dict) -> Result:
    if not (directory / run_directory.MODEL).exists():
        raise ValueError(
            f"{directory} says that its run is finished, but {run_directory.MODEL} is gone. Start "
            "anew with overwrite."
        )
    network = keras.models.load_model(directory / run_directory.MODEL)
    history = run_directory.read_json(directory / run_directory.HISTORY)
    return Result(network, history, metrics, directory)


def _announcement(planned: Plan) -> str:
    configuration, task, rule = planned.configuration, planned.task, planned.rule
    mixup = f", mixup {rule.mixup_alpha}" if rule.mixup_alpha else ""
    lines = [
        f"{configuration['model']} ({configuration['weights']} weights) on {task.name}: "
        f"{task.num_classes} classes, {task.num_examples} training and {task.num_test_examples} "
        "test images",
        f"{rule.steps} steps of {rule.batch_size} images at {rule.crop} pixels, "
        f"learning rate {rule.base_lr:g}{mixup}",
    ]
    if planned.held_out is not None:
        lines.append(
            f"Every {configuration['eval_every']} steps it is evaluated on "
            f"{planned.held_out.num_examples} training images that are held out."
        )
    if configuration["weights"] == RANDOM:
        lines.append(
            "It starts from random weights, with a recipe for training from scratch that is not "
            "the BiT-HyperRule: the rule fine-tunes pretrained weights."
        )
    return "\n".join(lines)

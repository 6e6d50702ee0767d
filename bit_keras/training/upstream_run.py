"""A run of pre-training or distillation, from its plan to its files."""

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import tensorflow as tf

from bit_keras.atomic_file import written_whole
from bit_keras.checkpoints.npz import save_npz
from bit_keras.data import pipeline
from bit_keras.data.inception_crop import inception_view
from bit_keras.data.tasks import Examples, Task
from bit_keras.data.unreadable import naming_unreadable
from bit_keras.distributed_model import Model
from bit_keras.evaluation.accuracy import BATCH_SIZE
from bit_keras.evaluation.pictures import plot_learning_curve
from bit_keras.resnet import ResNetV2
from bit_keras.training import run_directory, workers
from bit_keras.training.fit import fit
from bit_keras.training.recipes import UpstreamRule
from bit_keras.training.result import Result, reopened
from bit_keras.training.resume import to_numpy
from bit_keras.training.validation import HeldOut


@dataclass(frozen=True, eq=False)
class UpstreamPlan:
    """A run that is known to be possible; nothing of it is written.

    Attributes:
        trained: what `fit` trains and `evaluate` scores, with a loss and an accuracy.
        product: the network that is kept: `trained` itself, or a part of it.
        compile: compiles `trained`.
        task: with the examples that are trained on.
        rule: by which.
        held_out: examples to evaluate on while training; None: no such evaluation.
        augmentation: arguments of `pipeline.train_batches`, of `data.augmentation`.
        strategy: in whose scope the network was made.
        configuration: what tells the run from others; plain data.
    """

    trained: Model
    product: ResNetV2
    compile: Callable[[], None]
    task: Task
    rule: UpstreamRule
    held_out: Examples | None
    augmentation: dict[str, Callable]
    strategy: tf.distribute.Strategy
    configuration: dict


def run(
    planned: UpstreamPlan,
    directory: Path,
    *,
    save_every: int | None,
    keep: int,
    overwrite: bool,
    verbose: bool,
) -> Result:
    """Trains what is planned and writes it, or goes on with it, or returns it if it is finished.

    Raises:
        ValueError: `directory` belongs to another run.
        OSError: it cannot be written.
        FloatingPointError: the training diverged.
    """
    verbose = verbose and workers.is_chief(planned.strategy)
    with workers.naming_lost_workers(planned.strategy):
        finished = workers.claim(planned.strategy, directory, planned.configuration, overwrite)
        if finished is None:
            return _train(planned, directory, save_every, keep, verbose)
    if verbose:
        print(
            f"{directory} holds this run, finished: nothing to do; with overwrite it starts anew."
        )
    return reopened(directory, finished)


def _train(
    planned: UpstreamPlan, directory: Path, save_every: int | None, keep: int, verbose: bool
) -> Result:
    task, rule, trained = planned.task, planned.rule, planned.trained
    tell = print if verbose else _say_nothing
    tell(_announcement(planned))
    start = time.monotonic()
    with planned.strategy.scope():
        planned.compile()
    history = fit(
        trained,
        functools.partial(
            pipeline.train_batches,
            task,
            rule,
            planned.configuration["seed"],
            view=inception_view(rule.crop, task.flip),
            **planned.augmentation,
        ),
        directory,
        steps=rule.steps,
        learning_rate=rule.learning_rate,
        held_out=_held_out(planned),
        save_every=save_every,
        keep=keep,
        progress_bar=verbose,
        tell=tell,
    )
    # Where weights are averaged, fit puts the average in their place when it ends. A run that was
    # killed after its last step does not come to fit again.
    trained.optimizer.finalize_variable_values(trained.trainable_variables)
    scores = _score(task, rule, trained, [])
    if not math.isfinite(scores["loss"]):
        raise FloatingPointError(
            f"The loss on the test images is {scores['loss']}: training diverged at its end. Lower "
            "base_lr, and start anew with overwrite."
        )
    metrics = {
        "test_accuracy": scores["accuracy"],
        "test_loss": scores["loss"],
        "num_test_examples": task.num_test_examples,
        **_validation_metrics(planned, history),
        "seconds": round(time.monotonic() - start, 1),
        "seed": planned.configuration["seed"],
        "configuration": planned.configuration,
        "versions": run_directory.versions(),
    }
    result = Result(planned.product, history, metrics, directory)
    if workers.is_chief(planned.strategy):
        _write(result, f"{planned.configuration['model']} on {task.name}")
    tell(
        f"Accuracy {scores['accuracy']:.2%} on all {task.num_test_examples} test images. Written "
        f"to {directory}: {run_directory.WEIGHTS} is for pretrained= and --weights."
    )
    workers.told_by_chief(planned.strategy, 0)  # none ends before all is written
    return result


def _write(result: Result, title: str) -> None:
    directory, metrics = result.output_dir, result.metrics
    # The weights first: no fault of a picture may cost them.
    save_npz(result.model, directory / run_directory.WEIGHTS)
    with written_whole(directory / run_directory.MODEL) as temporary:
        result.model.save(temporary)
    run_directory.write_json(directory / run_directory.HISTORY, result.history)
    curve = directory / run_directory.CURVE
    plot_learning_curve(result.history, metrics["test_accuracy"], title, curve)
    run_directory.write_json(directory / run_directory.METRICS, metrics)
    run_directory.remove_states(directory)


def _held_out(planned: UpstreamPlan) -> HeldOut | None:
    if planned.held_out is None:
        return None
    task = replace(planned.task, test=planned.held_out)
    score = functools.partial(_score, task, planned.rule)
    return HeldOut(planned.configuration["eval_every"], planned.held_out.num_examples, score)


def _score(
    task: Task, rule: UpstreamRule, trained: Model, callbacks: list[keras.callbacks.Callback]
) -> dict[str, float]:
    """Loss and accuracy on the test images, batch by batch: of 51 200 images, the logits of 21 843
    classes would take 4.5 GB."""
    batches = pipeline.test_batches(task, rule, BATCH_SIZE)
    # The metrics are set back: they are what the training's progress bar shows last.
    metrics = trained.metrics_variables
    before = [to_numpy(metric) for metric in metrics]
    with naming_unreadable(lambda: batches):
        scores = trained.evaluate(batches, verbose=0, callbacks=callbacks, return_dict=True)
    for metric, value in zip(metrics, before, strict=True):
        metric.assign(value)
    return scores


def check_storable(network: keras.Model) -> None:
    """Raises a ValueError unless the official format can hold a network's weights."""
    if not isinstance(network, ResNetV2):
        raise ValueError(
            f"Model {network.name!r} is a {type(network).__name__}; its weight file needs it to be "
            "a bit_keras.ResNetV2."
        )
    if network.normalization != "group" or not network.standardize:
        raise ValueError(
            f"Model {network.name!r} has normalization={network.normalization!r} and "
            f"standardize={network.standardize}, for which the official format has no place: "
            "expected 'group' and True, which is BiT."
        )


def _validation_metrics(planned: UpstreamPlan, history: dict) -> dict:
    if planned.held_out is None:
        return {}
    return {
        "validation_accuracy": history["validation"]["accuracy"][-1],
        "num_validation_examples": planned.held_out.num_examples,
    }


def _announcement(planned: UpstreamPlan) -> str:
    configuration, task, rule = planned.configuration, planned.task, planned.rule
    several = " (several labels an image)" if task.several_labels else ""
    schedule = "in steps" if rule.boundaries else "as a cosine"
    asked = configuration.get("augmentation")
    augmentation = f", augmentation {asked}" if asked else ""
    return (
        f"{configuration['model']} on {task.name}: {task.num_classes} classes{several}, "
        f"{task.num_examples} training and {task.num_test_examples} test images\n"
        f"{rule.steps} steps of {rule.batch_size} images at {rule.crop} pixels, {rule.loss} loss, "
        f"learning rate {rule.base_lr:g} falling {schedule} after {rule.warmup_steps} steps of "
        f"warm-up, weight decay {rule.weight_decay:g}{augmentation}"
    )


def _say_nothing(_: str) -> None:
    """What a run that is not verbose prints."""

"""The parts that pre-training and distillation share: crops, evaluation and weight file."""

import functools
import math
from collections.abc import Callable

import keras
import tensorflow as tf

from bit_keras.checkpoints.npz import save_npz
from bit_keras.data import pipeline
from bit_keras.data.corrupt_images import naming_unreadable
from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task
from bit_keras.data.transforms import inception_view
from bit_keras.evaluation.predictions import BATCH_SIZE
from bit_keras.models.model import Model
from bit_keras.models.resnet import ResNetV2
from bit_keras.runs import run_directory
from bit_keras.training.callbacks import Score
from bit_keras.training.options import RunOptions
from bit_keras.training.recipes import UpstreamRule
from bit_keras.training.run import Run, Tested


def upstream_run(
    trained: Model,
    network: ResNetV2,
    task: Task,
    rule: UpstreamRule,
    *,
    held_out: Examples | None,
    strategy: tf.distribute.Strategy,
    options: RunOptions,
    configuration: dict,
    compile: Callable[[], None],
    augmentation: dict[str, Callable] | None = None,
    finish: pipeline.Finish | None = None,
) -> Run:
    """Prepares a run of pre-training or distillation; such runs train on Inception crops.

    Args:
        trained: the model that is trained and evaluated; it has a loss and an accuracy.
        network: the network whose weights are written: `trained`, or a part of it.
        augmentation: arguments of `pipeline.train_batches`, from `data.keras_cv_augmentation`.
        finish: the function of each batch, in training and evaluation, as for
            `pipeline.train_batches`.
        task, rule, held_out, strategy, options, configuration, compile: as for `Run`.

    Raises:
        ValueError: the official format cannot hold the network's weights.
    """
    _check_storable(network)
    scorer = functools.partial(_scorer, rule.crop, finish)
    return Run(
        network=network,
        trained=trained,
        task=task,
        rule=rule,
        held_out=held_out,
        strategy=strategy,
        options=options,
        configuration=configuration,
        announcement=_announcement(configuration, rule),
        compile=compile,
        batches=functools.partial(
            pipeline.train_batches,
            task,
            rule,
            options.seed,
            view=inception_view(rule.crop, task.flip),
            finish=finish,
            **(augmentation or {}),
        ),
        scorer=scorer,
        test=functools.partial(_test, trained, network, scorer(task), task.num_test_examples),
    )


def _scorer(crop: int, finish: pipeline.Finish | None, task: Task) -> Score:
    """Returns a function that computes loss and accuracy on test images batch by batch.

    Batches save memory: the logits of 51 200 images and 21 843 classes would take 4.5 GB.
    """

    def score(trained: Model, callbacks: list[keras.callbacks.Callback]) -> dict[str, float]:
        batches = pipeline.test_batches(task, crop, BATCH_SIZE, finish)
        with naming_unreadable(lambda: batches):
            return trained.evaluate(batches, verbose=0, callbacks=callbacks, return_dict=True)

    return score


def _test(trained: Model, network: ResNetV2, score: Score, num_test_examples: int) -> Tested:
    # With `ema`, Keras' `fit` replaces the weights by their running average when it ends. A run
    # that was killed after its last step does not call `fit` again, so the weights are replaced
    # here.
    trained.optimizer.finalize_variable_values(trained.trainable_variables)
    scores = score(trained, [])
    if not math.isfinite(scores["loss"]):
        raise FloatingPointError(
            f"The loss on the test images is {scores['loss']}: training diverged at its end. Lower "
            "base_lr, and start anew with overwrite."
        )
    metrics = {
        "test_accuracy": scores["accuracy"],
        "test_loss": scores["loss"],
        "num_test_examples": num_test_examples,
    }
    return Tested(metrics, {run_directory.WEIGHTS: functools.partial(save_npz, network)})


def _check_storable(network: keras.Model) -> None:
    """Raises a ValueError unless the official format can hold a network's weights."""
    if not isinstance(network, ResNetV2):
        raise ValueError(
            f"Model {network.name!r} is a {type(network).__name__}, whose weights cannot be "
            "written to an npz file. Expected a bit_keras.ResNetV2."
        )
    if network.normalization != "group" or not network.standardize:
        raise ValueError(
            f"Model {network.name!r} has normalization={network.normalization!r} and "
            f"standardize={network.standardize}, which the official format cannot store. Expected "
            "normalization='group' and standardize=True, as in BiT."
        )


# The names of the losses of a distillation that learns more than the teacher's logits.
_LOSSES_OF_OUTPUTS = {"features": "squared feature", "both": "kl and squared feature"}


def _announcement(configuration: dict, rule: UpstreamRule) -> str:
    schedule = "in steps" if rule.boundaries else "as a cosine"
    asked = configuration.get("augmentation")
    augmentation = f", augmentation {asked}" if asked else ""
    loss = _LOSSES_OF_OUTPUTS.get(configuration.get("teacher_output"), rule.loss)
    return (
        f"{rule.steps} steps of {rule.batch_size} images at {rule.crop} pixels, {loss} loss, "
        f"learning rate {rule.base_lr:g} falling {schedule} after {rule.warmup_steps} steps of "
        f"warm-up, weight decay {rule.weight_decay:g}{augmentation}"
    )

"""Runs a fine-tuning, pre-training or distillation, and writes the files of the run.

A recipe (finetune.py, pretrain.py, distill.py) checks its arguments and describes the training as a
`Run`. `execute` claims the directory, trains from the newest saved state, evaluates the network on
the test split and writes the files.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import tensorflow as tf

from bit_keras.data.examples import Examples
from bit_keras.data.tasks import Task
from bit_keras.evaluation.plots import plot_learning_curve, without_losing_results
from bit_keras.hyperrule import HyperRule
from bit_keras.models.task_record import record_of, remember
from bit_keras.runs import run_directory
from bit_keras.runs.trained_model import find_model
from bit_keras.training import workers
from bit_keras.training.callbacks import HeldOut, Score
from bit_keras.training.estimate import estimate
from bit_keras.training.fit import fit
from bit_keras.training.options import RunOptions
from bit_keras.training.recipes import UpstreamRule
from bit_keras.training.saved_state import naming_newest
from bit_keras.utils.atomic_file import atomic_write
from bit_keras.utils.printable import print_text

_TEACHER = "These numbers are for the student only; the teacher needs memory and time in addition."


@dataclass(frozen=True, eq=False)
class Result:
    """The result of a run of fine-tuning, pre-training or distillation.

    Attributes:
        model: the trained network.
        history: a dict of lists of equal length: step, loss (nats), accuracy (0 to 1) and
            learning_rate; with `eval_every`, also "validation": a dict of the lists step, loss and
            accuracy.
        metrics: the content of metrics.json.
        output_dir: the directory of config.json, metrics.json, task.json, history.json,
            model.keras, learning_curve.png and tensorboard/; and of predictions.png after
            fine-tuning, or weights.npz after pre-training or distillation.
    """

    model: keras.Model
    history: dict
    metrics: dict
    output_dir: Path


@dataclass(frozen=True, eq=False)
class Tested:
    """The test results at the end of a training, and the additional files to write.

    Attributes:
        metrics: results on the whole test split, at least test_accuracy and num_test_examples.
        files: the recipe's own files: for each name in the run's directory, a function that writes
            the file to a path.
        pictures: the recipe's own pictures, likewise. A picture that cannot be drawn is left out.
    """

    metrics: dict
    files: dict[str, Callable[[Path], None]] = field(default_factory=dict)
    pictures: dict[str, Callable[[Path], None]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Run:
    """A training that is ready to start: its arguments are checked, and no file is written yet.

    Attributes:
        network: the network with its initial weights; it is saved at the end.
        trained: the model that `fit` trains: `network`, or a model that contains it.
        task: the task, with only the training examples that are trained on.
        rule: the hyper-parameters.
        held_out: examples to evaluate on during training; None means no evaluation.
        strategy: the strategy in whose scope the network was made.
        options: the options that all recipes share.
        configuration: the values that distinguish this run from others, as plain data for JSON.
        announcement: what is printed before the training, below a line on the model and the task.
        compile: compiles `trained`.
        batches: returns the training batches from a given step, counted from 0, to the last one.
        scorer: returns a function that evaluates `trained` on a task's test images.
        test: evaluates `trained` on the task's test split.
    """

    network: keras.Model
    trained: keras.Model
    task: Task
    rule: HyperRule | UpstreamRule
    held_out: Examples | None
    strategy: tf.distribute.Strategy
    options: RunOptions
    configuration: dict
    announcement: str
    compile: Callable[[], None]
    batches: Callable[[int], tf.data.Dataset]
    scorer: Callable[[Task], Score]
    test: Callable[[], Tested]


def execute(run: Run, directory: Path) -> Result:
    """Starts or continues a training run; if the run is finished, only reads its result.

    Raises:
        ValueError: `directory` holds another run, the training does not fit into the memory, or
            the data cannot be used.
        OSError: `directory` cannot be written, or another process trains in it.
        FloatingPointError: the training diverged; the last good state is kept.
    """
    verbose = run.options.verbose and workers.is_chief(run.strategy)
    log = print_text if verbose else _discard_message
    needs = estimate(run.network, run.rule, run.options, run.strategy)
    begun = run_directory.is_begun(directory) and not run.options.overwrite
    if needs is not None and needs.refusal and not begun:
        raise ValueError(needs.refusal)
    with (
        workers.naming_lost_workers(run.strategy),
        # All arguments have been checked by now. `claimed` is the first to write to the run's
        # directory.
        workers.claimed(
            run.strategy,
            directory,
            run.configuration,
            run.options.overwrite,
            run.task.class_names,
        ) as finished,
    ):
        if finished is None:
            log(f"{_first_line(run)}\n{run.announcement}")
            if needs is not None:
                log(needs.text if run.trained is run.network else f"{needs.text} {_TEACHER}")
            return _train(run, directory, verbose, log)
    log(
        f"{directory} already holds this run, finished: nothing to do. Pass overwrite "
        "(--overwrite) to start it anew."
    )
    return _reopened(directory, finished)


def _train(run: Run, directory: Path, verbose: bool, log: Callable[[str], None]) -> Result:
    for note in _notes(run):
        log(note)
    start = time.monotonic()
    with run.strategy.scope():
        run.compile()
    history = fit(
        run.trained,
        run.batches,
        directory,
        steps=run.rule.steps,
        learning_rate=run.rule.learning_rate,
        held_out=_held_out(run),
        save_every=run.options.save_every,
        keep=run.options.keep,
        show_progress=verbose,
        log=log,
    )
    remember(run.network, replace(run.task.record(), crop=run.rule.crop))
    tested = run.test()
    metrics = {
        **tested.metrics,
        **_validation_metrics(run, history),
        "seconds": round(time.monotonic() - start, 1),
        "seed": run.options.seed,
        "configuration": run.configuration,
        "versions": run_directory.versions(),
    }
    result = Result(run.network, history, metrics, directory)
    if workers.is_chief(run.strategy):
        _write(result, tested, f"{run.configuration['model']} on {run.task.name}")
    log(_closing_message(tested, directory))
    # All workers wait here until the chief has written the files.
    workers.broadcast_from_chief(run.strategy, 0)
    return result


def _first_line(run: Run) -> str:
    configuration, task = run.configuration, run.task
    weights = f" ({configuration['weights']} weights)" if "weights" in configuration else ""
    several = " (several labels an image)" if task.several_labels else ""
    return (
        f"{configuration['model']}{weights} on {task.name}: {task.num_classes} classes{several}, "
        f"{task.num_examples} training and {task.num_test_examples} test images"
    )


def _notes(run: Run) -> list[str]:
    """Returns the sentences about its task that a run prints before the training."""
    notes = [run.task.note] if run.task.note else []
    if run.held_out is not None:
        which = (
            f"{run.held_out.num_examples} training images that are held out"
            if run.task.validation is None
            else f"the {run.held_out.num_examples} images of the validation split"
        )
        notes.append(f"Every {run.options.eval_every} steps it is evaluated on {which}.")
    elif run.task.validation is not None:
        notes.append(
            f"The {run.task.validation.num_examples} images of the validation split are not used; "
            "eval_every (--eval_every) evaluates on them during the training."
        )
    return notes


def _held_out(run: Run) -> HeldOut | None:
    if run.held_out is None:
        return None
    score = run.scorer(replace(run.task, test=run.held_out))
    return HeldOut(run.options.eval_every, run.held_out.num_examples, score)


def _validation_metrics(run: Run, history: dict) -> dict:
    if run.held_out is None:
        return {}
    return {
        "validation_accuracy": history["validation"]["accuracy"][-1],
        "num_validation_examples": run.held_out.num_examples,
    }


def _write(result: Result, tested: Tested, title: str) -> None:
    directory, metrics = result.output_dir, result.metrics
    with naming_newest(directory, f"writing the trained network to {directory}"):
        with atomic_write(directory / run_directory.MODEL) as temporary:
            result.model.save(temporary)
        for name, write in tested.files.items():
            write(directory / name)
        run_directory.write_json(directory / run_directory.TASK, record_of(result.model).plain())
        run_directory.write_json(directory / run_directory.HISTORY, result.history)
        for name, draw in tested.pictures.items():
            with without_losing_results(directory / name) as path:
                draw(path)
        with without_losing_results(directory / run_directory.CURVE) as path:
            plot_learning_curve(result.history, metrics["test_accuracy"], title, path)
        # metrics.json is written last, because a run that has this file counts as finished.
        run_directory.write_json(directory / run_directory.METRICS, metrics)
    run_directory.remove_states(directory)


def _closing_message(tested: Tested, directory: Path) -> str:
    accuracy, total = tested.metrics["test_accuracy"], tested.metrics["num_test_examples"]
    weights = run_directory.WEIGHTS
    use = f" {weights} is for pretrained= and --weights." if weights in tested.files else ""
    return f"Test accuracy {accuracy:.2%} of all {total} test images. Written to {directory}.{use}"


def _reopened(directory: Path, metrics: dict) -> Result:
    """Returns the result of a finished run, read from the files in its directory.

    Raises:
        ValueError: the file of the network or of the history is missing or damaged.
    """
    if not (directory / run_directory.MODEL).exists():
        raise ValueError(
            f"{directory} holds a finished run, but its {run_directory.MODEL} is missing. Start "
            "anew with overwrite."
        )
    network = find_model(directory).load(compile=True)
    history = run_directory.read_json(directory / run_directory.HISTORY)
    return Result(network, history, metrics, directory)


def _discard_message(_: str) -> None:
    """Prints nothing; used instead of `print` if the run is not verbose."""

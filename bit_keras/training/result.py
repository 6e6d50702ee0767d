"""What a training run leaves, when it ends and when it is opened again."""

from dataclasses import dataclass
from pathlib import Path

import keras

from bit_keras.training import run_directory


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


def reopened(directory: Path, metrics: dict) -> Result:
    """Returns the result of a finished run.

    Raises:
        ValueError: its network or its history is gone or damaged.
    """
    if not (directory / run_directory.MODEL).exists():
        raise ValueError(
            f"{directory} says that its run is finished, but {run_directory.MODEL} is gone. Start "
            "anew with overwrite."
        )
    network = keras.models.load_model(directory / run_directory.MODEL)
    history = run_directory.read_json(directory / run_directory.HISTORY)
    return Result(network, history, metrics, directory)

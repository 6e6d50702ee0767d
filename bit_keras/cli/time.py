"""The command `bit-keras time`."""

from multiprocessing import resource_tracker
from pathlib import Path

from absl import flags

from bit_keras.cli.flags import WHOLE, Command
from bit_keras.cli.tensorflow_log import filtered_stderr


def _run(values: flags.FlagValues, *paths: str) -> None:
    from bit_keras.runs.trained_model import find_model

    for path in paths:
        if not Path(path).expanduser().exists():
            find_model(path)  # A wrong name is refused before TensorFlow is imported.
    from bit_keras.exporters.timing import time_models

    # Each model is timed in its own process, and Python's resource tracker outlives these
    # processes. It is started before standard error is filtered, because the filter waits for every
    # process that can write to it.
    resource_tracker.ensure_running()
    with filtered_stderr():
        timings = time_models(paths, batch_size=values.batch_size, image_size=values.image_size)
    timings.print()


# fmt: off
COMMAND = Command(
    "Time models for one image and for a batch: SavedModels, .tflite, .onnx, OpenVINO .xml, .keras "
    "and .npz files, directories of runs and names of the zoo.",
    (
        (WHOLE, "batch_size", 8, "number of images in a batch"),
        (WHOLE, "image_size", 224, "height and width of the images in pixels"),
    ),
    _run,
    ("PATH...",),
    required=1,
)
# fmt: on

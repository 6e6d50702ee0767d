"""`bit-keras time`: measures how long models take for one image and for a batch."""

from multiprocessing import resource_tracker
from pathlib import Path

from absl import flags

from bit_keras.cli.flags import WHOLE, Command
from bit_keras.cli.tensorflow_log import filtered_stderr


def _run(values: flags.FlagValues, *paths: str) -> None:
    from bit_keras.runs.trained_model import find_model

    for path in paths:
        if not Path(path).expanduser().exists():
            # A wrong model name is refused here, before the import of TensorFlow below takes
            # seconds.
            find_model(path)
    from bit_keras.exporters.timing import time_models

    # Each model is timed in its own process. Python's resource tracker, a further process, outlives
    # these processes, and `filtered_stderr` waits until every process that can write to the
    # filtered standard error has ended. The tracker is therefore started before `filtered_stderr`.
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

"""`bit-keras time`."""

from absl import flags

from bit_keras.commands.command import WHOLE, Command


def _run(values: flags.FlagValues, *paths: str) -> None:
    from bit_keras.conversions.timing import time_models

    time_models(paths, batch_size=values.batch_size, image_size=values.image_size).print()


# fmt: off
COMMAND = Command(
    "Time models for one image and for a batch, each beside the first: SavedModels, .tflite, "
    ".onnx, OpenVINO .xml, .keras and .npz files, directories of runs, names of the zoo.",
    (
        (WHOLE, "batch_size", 8, "images a batch"),
        (WHOLE, "image_size", 224, "their height and width in pixels"),
    ),
    _run,
    ("PATH...",),
    required=1,
)
# fmt: on

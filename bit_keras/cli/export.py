"""`bit-keras export`: writes a model to a file that other programs can run."""

from absl import flags

from bit_keras.cli.flags import LIST, SWITCH, TEXT, Command, numbers
from bit_keras.cli.tensorflow_log import filtered_stderr


def _run(values: flags.FlagValues, model: str) -> None:
    from bit_keras.runs.trained_model import find_model

    # A wrong model name is refused here, before the import of TensorFlow below takes seconds.
    find_model(model, values.weights)
    from bit_keras.exporters.export_model import export_model

    # Files of other formats are written by another process, which prints TensorFlow's log lines.
    with filtered_stderr():
        export_model(
            model,
            values.format,
            weights=values.weights,
            output=values.output,
            input_range=numbers(values, "input_range"),
            freeze=values.freeze,
            int8=values.int8,
            overwrite=values.overwrite,
        )


# fmt: off
COMMAND = Command(
    "Export a model (a run's directory, a .keras file or a name of the zoo) for other programs.",
    (
        (TEXT, "format", "saved_model", "saved_model, litert, onnx, openvino, keras or npz"),
        (TEXT, "output", None, "the file to write; by default the model's name, in the current "
         "directory"),
        (TEXT, "weights", None, "weights of a model of the zoo: name of a checkpoint, such as "
         "ilsvrc2012, or path of an official npz file; by default the upstream weights"),
        (LIST, "input_range", None, "the values of black and white in the images that the file "
         "takes, such as 0,255; by default 0,1. keras and npz files always take -1,1"),
        (SWITCH, "freeze", False, "for saved_model: write a SavedModel for serving only, whose "
         "kernels are standardized once; litert, onnx and openvino files are always frozen"),
        (SWITCH, "int8", False, "for litert: store the weights in 8 bits, a quarter of the size"),
        (SWITCH, "overwrite", False, "replace an existing file"),
    ),
    _run,
    ("MODEL",),
    required=1,
)
# fmt: on

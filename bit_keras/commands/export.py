"""`bit-keras export`."""

from absl import flags

from bit_keras.commands.command import LIST, SWITCH, TEXT, Command


def _run(values: flags.FlagValues, model: str) -> None:
    from bit_keras.conversions.export_model import export_model

    export_model(
        model,
        values.format,
        weights=values.weights,
        output=values.output,
        input_range=_range_of(values),
        freeze=values.freeze,
        int8=values.int8,
        overwrite=values.overwrite,
    )


def _range_of(values: flags.FlagValues) -> tuple[float, ...] | None:
    if values.input_range is None:
        return None
    try:
        return tuple(float(text) for text in values.input_range)
    except ValueError:
        raise ValueError(
            "--input_range takes the values of black and white, such as 0,1 or 0,255; got "
            f"{','.join(values.input_range)!r}."
        ) from None


# fmt: off
COMMAND = Command(
    "Write a model (a run's directory, a .keras file or a name of the zoo) for other programs.",
    (
        (TEXT, "format", "saved_model", "saved_model, litert, onnx, openvino, keras or npz"),
        (TEXT, "output", None, "the file to write; without it the model's name, in this directory"),
        (TEXT, "weights", None, "of a name of the zoo: a checkpoint, such as ilsvrc2012, or the "
         "path of an official npz file; without it the upstream weights"),
        (LIST, "input_range", None, "the values of black and white in the images that the file "
         "takes, such as 0,255; without it 0,1. keras and npz files take -1,1"),
        (SWITCH, "freeze", False, "of saved_model: kernels standardized once, for serving and not "
         "for training; litert, onnx and openvino always are so"),
        (SWITCH, "int8", False, "of litert: weights in 8 bits, a quarter of the size"),
        (SWITCH, "overwrite", False, "replace an earlier file"),
    ),
    _run,
    ("MODEL",),
    required=1,
)
# fmt: on

"""`bit-keras models`."""

from absl import flags

from bit_keras.commands.command import SWITCH, Command


def _run(values: flags.FlagValues, name: str | None = None) -> int:
    from bit_keras import tables

    if values.verify:
        return 1 if tables.print_cache() else 0
    if name is None:
        tables.print_models()
    else:
        tables.print_model(name)
    return 0


COMMAND = Command(
    "List all models, or all there is to know about one: its checkpoints, sizes, accuracies.",
    (
        (
            SWITCH,
            "verify",
            False,
            "hold each file of the cache against its digest at its first download",
        ),
    ),
    _run,
    ("MODEL",),
)

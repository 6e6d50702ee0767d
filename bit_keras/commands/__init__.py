"""The subcommands of `bit-keras`: flags and arguments to a call, no logic of their own.

Each imports what it runs when it is run: `bit-keras --help` waits for no TensorFlow.
"""

from bit_keras.commands import finetune, models

COMMANDS = {
    "finetune": finetune.COMMAND,
    "models": models.COMMAND,
}

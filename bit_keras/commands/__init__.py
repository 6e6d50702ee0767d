"""The subcommands of `bit-keras`: flags and arguments to a call, no logic of their own.

Each imports what it runs when it is run: `bit-keras --help` waits for no TensorFlow.
"""

from bit_keras.commands import evaluate, export, fewshot, finetune, models, report, time, vtab

COMMANDS = {
    "evaluate": evaluate.COMMAND,
    "export": export.COMMAND,
    "fewshot": fewshot.COMMAND,
    "finetune": finetune.COMMAND,
    "models": models.COMMAND,
    "report": report.COMMAND,
    "time": time.COMMAND,
    "vtab": vtab.COMMAND,
}

"""The subcommands of `bit-keras`: flags and arguments to a call, no logic of their own.

Each imports what it runs when it is run: `bit-keras --help` waits for no TensorFlow.
"""

from bit_keras.commands import (
    cost,
    distill,
    evaluate,
    export,
    fewshot,
    finetune,
    models,
    pretrain,
    report,
    time,
    vtab,
)

COMMANDS = {
    "cost": cost.COMMAND,
    "distill": distill.COMMAND,
    "evaluate": evaluate.COMMAND,
    "export": export.COMMAND,
    "fewshot": fewshot.COMMAND,
    "finetune": finetune.COMMAND,
    "models": models.COMMAND,
    "pretrain": pretrain.COMMAND,
    "report": report.COMMAND,
    "time": time.COMMAND,
    "vtab": vtab.COMMAND,
}

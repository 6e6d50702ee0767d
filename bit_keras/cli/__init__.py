"""The command line `bit-keras`: one module for each subcommand."""

from bit_keras.cli.main import main

__all__ = ["main"]
